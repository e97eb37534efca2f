import math

import pytest
import torch

from palate.maths import preference
from palate.maths.reward import smoothed

SOFT = {
    "sigmoid": lambda m, p: preference.sigmoid(m, p, torch.zeros_like(m), beta=0.5),
    "cdpo": lambda m, p: preference.cdpo(m, p, torch.zeros_like(m), beta=0.5, smoothing=0.1),
    "rdpo": lambda m, p: preference.rdpo(m, p, torch.zeros_like(m), beta=0.5, smoothing=0.1),
    "ipo": lambda m, p: preference.ipo(m, p, tau=0.5),
    "hinge": lambda m, p: preference.hinge(m, p, torch.zeros_like(m), beta=0.5),
    "simpo": lambda m, p: preference.simpo(m, 0 * m, p, beta=0.5, gamma=0.3),
    "orpo": lambda m, p: preference.orpo_odds(-(-m).exp(), -m.exp(), p),
}
MARGINS = torch.tensor([-3.0, -0.5, 0.0, 1.0, 4.0], dtype=torch.float64)
ONES = torch.ones_like(MARGINS)


def test_margin_is_chosen_minus_rejected():
    assert preference.margin(torch.tensor([3.0]), torch.tensor([1.0])).item() == 2.0


@pytest.mark.parametrize("loss", [SOFT["sigmoid"], SOFT["cdpo"], SOFT["rdpo"]])
def test_dpo_is_log_two_when_policy_and_reference_agree(loss):
    zero = torch.zeros(1, dtype=torch.float64)
    assert loss(zero, torch.ones_like(zero)).item() == pytest.approx(math.log(2), abs=1e-12)


def test_losses_by_hand_at_margin_one():
    one = torch.ones(1, dtype=torch.float64)
    nll = {sign: math.log1p(math.exp(-sign * 0.5)) for sign in (1, -1)}
    expected = {
        "sigmoid": nll[1],
        "cdpo": 0.9 * nll[1] + 0.1 * nll[-1],
        "rdpo": (0.9 * nll[1] - 0.1 * nll[-1]) / 0.8,
        "ipo": 0.0,
        "hinge": 0.5,
        "simpo": math.log1p(math.exp(-0.2)),
    }
    got = {name: SOFT[name](one, one).item() for name in expected}
    assert got == pytest.approx(expected)


def test_an_offset_is_what_the_implicit_reward_has_to_win_by():
    """-log sigmoid(0.5 m - 0.7), of either order: ODPO; the hinge asks for 1 + 0.7."""
    one = torch.ones(1, dtype=torch.float64)
    odpo = preference.sigmoid(one, one, 0.7 * one, beta=0.5)
    assert odpo.item() == pytest.approx(math.log1p(math.exp(0.2)))
    tied = preference.sigmoid(one, 0.5 * one, 0.7 * one, beta=0.5)
    both = math.log1p(math.exp(0.2)) + math.log1p(math.exp(1.2))
    assert tied.item() == pytest.approx(0.5 * both)
    assert preference.hinge(one, one, 0.7 * one, beta=0.5).item() == pytest.approx(1.2)


def test_ipo_pulls_the_margin_to_half_over_tau():
    margin = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64, requires_grad=True)
    loss = preference.ipo(margin, torch.ones_like(margin), tau=0.1)
    assert loss.tolist() == pytest.approx([16.0, 0.0, 16.0])
    assert torch.autograd.grad(loss.sum(), margin)[0].tolist() == pytest.approx([-8.0, 0.0, 8.0])


@pytest.mark.parametrize("name", SOFT)
def test_losses_fall_while_the_margin_is_small_and_the_label_is_hard(name):
    low, high = SOFT[name](torch.tensor([-0.2, 0.3]), torch.ones(2)).tolist()
    assert low > high


@pytest.mark.parametrize("name", SOFT)
def test_soft_labels_mix_the_losses_of_both_labels(name):
    p = torch.tensor([0.0, 0.2, 0.5, 0.7, 1.0], dtype=torch.float64)
    mixed = p * SOFT[name](MARGINS, ONES) + (1 - p) * SOFT[name](MARGINS, 0 * ONES)
    assert torch.allclose(SOFT[name](MARGINS, p), mixed, atol=1e-12)


@pytest.mark.parametrize("name", SOFT)
def test_swapping_chosen_and_rejected_is_swapping_the_label(name):
    p = torch.tensor([0.0, 0.2, 0.5, 0.7, 1.0], dtype=torch.float64)
    assert torch.allclose(SOFT[name](MARGINS, p), SOFT[name](-MARGINS, 1 - p), atol=1e-12)


def test_robust_dpo_on_flipped_labels_is_dpo_on_clean_ones_in_expectation():
    flipped = smoothed(ONES, smoothing=0.2)
    robust = preference.rdpo(MARGINS, flipped, torch.zeros_like(MARGINS), beta=0.5, smoothing=0.2)
    clean = preference.sigmoid(MARGINS, ONES, torch.zeros_like(MARGINS), beta=0.5)
    conservative = preference.cdpo(
        MARGINS, flipped, torch.zeros_like(MARGINS), beta=0.5, smoothing=0.2
    )
    assert torch.allclose(robust, clean, atol=1e-12)
    assert (conservative - clean).abs().max() > 0.1


@pytest.mark.parametrize("name", ["sigmoid", "simpo"])
def test_losses_stay_finite_and_keep_their_slope_at_huge_margins(name):
    margin = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = SOFT[name](margin, torch.ones(2))
    (slope,) = torch.autograd.grad(loss.sum(), margin)
    assert loss.tolist() == pytest.approx([5000.0, 0.0], abs=0.5)
    assert slope.tolist() == pytest.approx([-0.5, 0.0])


def test_simpo_wants_the_target_margin():
    chosen, rejected = torch.tensor([-0.5]), torch.tensor([-1.5])
    got = preference.simpo(chosen, rejected, torch.ones(1), beta=2.0, gamma=2.0)
    assert got.item() == pytest.approx(math.log(2))


def test_orpo_compares_odds():
    """Probabilities 0.8 and 0.5 have odds 4 and 1: -log sigmoid(log 4) = log 1.25."""
    chosen, rejected = torch.tensor([0.8]).log(), torch.tensor([0.5]).log()
    got = preference.orpo_odds(chosen, rejected, torch.ones(1))
    assert got.item() == pytest.approx(math.log(1.25), rel=1e-6)


def test_kto_rewards_desirable_and_punishes_undesirable_responses():
    log_ratio = torch.tensor([2.2, 2.2, 0.2], dtype=torch.float64, requires_grad=True)
    desirable = torch.tensor([True, False, True])
    loss = preference.kto(
        log_ratio, desirable, 0.2, beta=0.5, desirable_weight=1.0, undesirable_weight=2.0
    )
    sigmoid = 1 / (1 + math.exp(-1.0))
    assert loss.tolist() == pytest.approx([1 - sigmoid, 2 * sigmoid, 0.5])
    (slope,) = torch.autograd.grad(loss.sum(), log_ratio)
    inner = 0.5 * sigmoid * (1 - sigmoid)
    assert slope.tolist() == pytest.approx([-inner, 2 * inner, -0.125])
