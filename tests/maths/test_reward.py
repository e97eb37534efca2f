import itertools
import math

import choix
import numpy as np
import pytest
import torch

from palate.maths.reward import (
    bradley_terry,
    cumulative_logit,
    davidson,
    plackett_luce,
    preferred,
    smoothed,
    unsmoothed,
)


def minimized(loss, start):
    """The minimizer of a smooth convex loss, to rounding."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=200,
        tolerance_grad=1e-9,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    optimizer.step(closure)
    return x.detach()


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


TRUTH = double(0.4, -0.3, 1.2, -1.3)
FIRST, SECOND = torch.tensor(list(itertools.combinations(range(4), 2))).T


def test_bradley_terry_by_hand():
    difference, probability, margin = double(1.0, 1.0, 1.0), double(1.0, 0.0, 1.0), double(0, 0, 3)
    expected = [math.log1p(math.exp(-1.0)), math.log1p(math.exp(1.0)), math.log1p(math.exp(2.0))]
    assert bradley_terry(difference, probability, margin).tolist() == pytest.approx(expected)


def test_bradley_terry_is_finite_with_the_right_slope_at_huge_differences():
    difference = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bradley_terry(difference, torch.ones(2), torch.zeros(2))
    assert loss.tolist() == [1e4, 0.0]
    assert torch.autograd.grad(loss.sum(), difference)[0].tolist() == [-1.0, 0.0]


def test_a_margin_shifts_the_required_difference_of_either_label():
    zero = torch.zeros(2, dtype=torch.float64)
    got = bradley_terry(double(3.0, -3.0), double(1.0, 0.0), double(2.0, 2.0))
    assert torch.equal(got, bradley_terry(double(1.0, -1.0), double(1.0, 0.0), zero))


def test_smoothing_moves_labels_and_unsmoothing_inverts_it():
    p = double(0.0, 0.3, 1.0)
    assert smoothed(p, smoothing=0.1).tolist() == pytest.approx([0.1, 0.34, 0.9])
    assert torch.allclose(unsmoothed(smoothed(p, smoothing=0.1), smoothing=0.1), p)


def test_population_bradley_terry_recovers_rewards_and_smoothing_shrinks_them():
    truth = TRUTH - TRUTH.mean()
    p = (truth[FIRST] - truth[SECOND]).sigmoid()

    def fit(labels):
        def loss(x):
            difference = x[FIRST] - x[SECOND]
            return bradley_terry(difference, labels, torch.zeros_like(labels)).sum()

        return minimized(loss, torch.zeros(4, dtype=torch.float64))

    assert (fit(p) - truth).abs().max() < 1e-6
    assert fit(smoothed(p, smoothing=0.1)).std() < 0.85 * truth.std()


def test_plackett_luce_of_two_is_bradley_terry():
    scores, order = torch.tensor([[0.5, 1.7]]), torch.tensor([[1, 0]])
    pair = bradley_terry(torch.tensor([1.2]), torch.ones(1), torch.zeros(1))
    assert plackett_luce(scores, order).item() == pytest.approx(pair.item())


def test_plackett_luce_is_a_distribution_over_rankings():
    orders = torch.tensor(list(itertools.permutations(range(4))))
    logp = -plackett_luce(TRUTH.expand(24, 4), orders)
    assert logp.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert orders[logp.argmax()].tolist() == TRUTH.argsort(descending=True).tolist()


def test_plackett_luce_fit_is_that_of_choix():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=8)
    rankings = []
    for _ in range(500):
        items = rng.choice(8, 4, replace=False)
        rankings.append(items[np.argsort(-(truth[items] + rng.gumbel(size=4)))].tolist())
    ids = torch.tensor(rankings)
    places = torch.arange(4).expand_as(ids)
    ours = minimized(
        lambda x: plackett_luce(x[ids], places).sum(), torch.zeros(8, dtype=torch.float64)
    )
    theirs = choix.ilsr_rankings(8, rankings)
    assert np.abs((ours - ours.mean()).numpy() - theirs).max() < 1e-6
    assert np.sqrt(np.mean((theirs - truth + truth.mean()) ** 2)) < 0.3


def test_davidson_is_a_distribution_over_win_tie_and_loss():
    d, nu = double(0.8), 0.7
    logp = [-davidson(d, torch.tensor([outcome]), nu=nu) for outcome in (1, 0, -1)]
    weights = [math.exp(0.4), 0.7, math.exp(-0.4)]
    expected = [math.log(w / sum(weights)) for w in weights]
    assert [x.item() for x in logp] == pytest.approx(expected)


def test_population_davidson_recovers_rewards_and_the_rate_of_ties():
    truth, nu = TRUTH - TRUTH.mean(), double(0.7)[0]
    outcomes = [torch.full((6,), o) for o in (-1, 0, 1)]

    def nll(x, o, ties):
        return davidson(x[FIRST] - x[SECOND], o, nu=ties)

    weights = [(-nll(truth, o, nu)).exp() for o in outcomes]

    def loss(x):
        each = [
            (w * nll(x[:4], o, x[4].exp())).sum() for w, o in zip(weights, outcomes, strict=True)
        ]
        return torch.stack(each).sum()

    fit = minimized(loss, torch.zeros(5, dtype=torch.float64))
    assert (fit[:4] - fit[:4].mean() - truth).abs().max() < 1e-6
    assert fit[4].exp().item() == pytest.approx(0.7, abs=1e-6)


THRESHOLDS = double(-1.0, 0.3, 1.1)


def test_cumulative_logit_is_a_distribution_with_logistic_steps():
    difference = double(0.4).expand(4)
    p = (-cumulative_logit(difference, torch.arange(4), THRESHOLDS)).exp()
    below = (THRESHOLDS - 0.4).sigmoid()
    assert torch.allclose(p.cumsum(0), torch.cat([below, double(1.0)]))


def test_cumulative_logit_prefers_high_grades_for_large_differences():
    loss = cumulative_logit(double(5.0, 5.0), torch.tensor([3, 0]), THRESHOLDS)
    assert loss[0] < 0.05
    assert loss[1] > 5.0


def test_cumulative_logit_is_finite_far_out():
    difference = torch.tensor([80.0, -80.0, 80.0, -80.0], requires_grad=True)
    loss = cumulative_logit(difference, torch.tensor([1, 1, 0, 3]), THRESHOLDS.float())
    (slope,) = torch.autograd.grad(loss.sum(), difference)
    assert loss.tolist() == pytest.approx([80.0, 80.0, 81.0, 81.1], abs=1.0)
    assert slope.tolist() == pytest.approx([1.0, -1.0, 1.0, -1.0], abs=1e-4)


def test_population_cumulative_logit_recovers_rewards_and_thresholds():
    truth = TRUTH - TRUTH.mean()
    grades = [torch.full((6,), g) for g in range(4)]

    def nll(scores, g, thresholds):
        return cumulative_logit(scores[FIRST] - scores[SECOND], g, thresholds)

    weights = [(-nll(truth, g, THRESHOLDS)).exp() for g in grades]

    def loss(x):
        steps = torch.cat([x[4:5], x[5:].exp()]).cumsum(0)
        each = [(w * nll(x[:4], g, steps)).sum() for w, g in zip(weights, grades, strict=True)]
        return torch.stack(each).sum()

    fit = minimized(loss, torch.zeros(7, dtype=torch.float64))
    steps = torch.cat([fit[4:5], fit[5:].exp()]).cumsum(0)
    assert (fit[:4] - fit[:4].mean() - truth).abs().max() < 1e-5
    assert (steps - THRESHOLDS).abs().max() < 1e-5


def test_a_label_is_a_logistic_of_the_difference_and_a_comparison_without_noise():
    difference = torch.tensor([-2.0, 0.0, 2.0])
    expected = [1 / (1 + math.exp(d)) for d in (0.5, 0.0, -0.5)]
    assert preferred(difference, noise=4.0).tolist() == pytest.approx(expected)
    assert preferred(difference, noise=0.0).tolist() == [0.0, 0.5, 1.0]
