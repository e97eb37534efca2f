"""The DPO family by hand: two groups, masked tokens that hold garbage, three preferences."""

import math

import pytest
import torch

from palate.algorithms import dpo
from palate.batches.pairs import Pairs
from palate.config.stages import DpoConfig
from palate.interfaces import Loss, Outputs

NAN = float("nan")
LOGPROBS = torch.tensor(
    [[-1.0, -2.0, NAN], [-0.5, NAN, NAN], [-1.0, NAN, -0.5], [-2.0, -1.0, -1.5], [-0.25, -0.5, NAN]]
)
MASK = ~LOGPROBS.isnan()
LENGTH = [2, 1, 2, 3, 2]
SUM = [-3.0, -0.5, -1.5, -4.5, -0.75]
REFERENCE = [-2.0, -1.0, -1.5, -5.0, -1.75]
RATIO = [-1.0, 0.5, 0.0, 0.5, 1.0]
PAIRS = Pairs(
    winner=torch.tensor([1, 0, 4]),
    loser=torch.tensor([0, 2, 3]),
    probability=torch.tensor([1.0, 0.7, 1.0]),
    margin=torch.tensor([0.0, 2.0, 1.0]),
    weight=torch.tensor([0.5, 0.5, 1.0]),
    num_groups=2.0,
)
SIDES = [(1, 0, 1.0, 0.0), (0, 2, 0.7, 2.0), (4, 3, 1.0, 1.0)]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def labeled(h: float, p: float, offset: float = 0.0) -> float:
    return -p * log_sigmoid(h - offset) - (1 - p) * log_sigmoid(-h - offset)


def outputs(logprobs: torch.Tensor = LOGPROBS) -> Outputs:
    empty = torch.zeros(0)
    return Outputs(logprobs=logprobs, entropy=empty, values=empty, scores=empty)


def loss_of(config: DpoConfig, logprobs: torch.Tensor = LOGPROBS) -> Loss:
    return dpo.loss(outputs(logprobs), MASK, torch.tensor(REFERENCE), PAIRS, config)


def weighted(terms: list[float]) -> float:
    return 0.5 * terms[0] + 0.5 * terms[1] + terms[2]


def test_dpo_takes_sums_over_counted_tokens_less_the_references():
    terms = [labeled(0.4 * (RATIO[w] - RATIO[x]), p) for w, x, p, _ in SIDES]
    loss = loss_of(DpoConfig(beta=0.4))
    assert float(loss.sum) == pytest.approx(weighted(terms), rel=1e-5)
    assert loss.weight == 2


def test_the_gradient_reaches_counted_tokens_alone():
    logprobs = LOGPROBS.clone().requires_grad_(True)
    loss_of(DpoConfig(), logprobs).sum.backward()
    assert torch.equal(logprobs.grad != 0, MASK)
    assert logprobs.grad[1, 0] < 0 < logprobs.grad[3, 0]


def test_offsets_are_scaled_margins():
    terms = [labeled(0.4 * (RATIO[w] - RATIO[x]), p, 0.3 * m) for w, x, p, m in SIDES]
    loss = loss_of(DpoConfig(beta=0.4, margin_coef=0.3))
    assert float(loss.sum) == pytest.approx(weighted(terms), rel=1e-5)


def test_label_smoothing_smooths_for_cdpo_and_corrects_for_robust_dpo():
    def expected(e: float, corrected: bool) -> float:
        labels = [(p - e) / (1 - 2 * e) if corrected else p + e * (1 - 2 * p) for *_, p, _ in SIDES]
        terms = [
            labeled(0.4 * (RATIO[w] - RATIO[x]), p)
            for (w, x, *_), p in zip(SIDES, labels, strict=True)
        ]
        return weighted(terms)

    smoothed = loss_of(DpoConfig(loss="cdpo", beta=0.4, label_smoothing=0.1))
    assert float(smoothed.sum) == pytest.approx(expected(0.1, False), rel=1e-5)
    robust = loss_of(DpoConfig(loss="robust", beta=0.4, label_smoothing=0.1))
    assert float(robust.sum) == pytest.approx(expected(0.1, True), rel=1e-5)


def test_simpo_takes_means_over_tokens_without_a_reference():
    mean = [s / n for s, n in zip(SUM, LENGTH, strict=True)]
    terms = [labeled(2.0 * (mean[w] - mean[x]), p, 0.5) for w, x, p, _ in SIDES]
    loss = loss_of(DpoConfig(loss="simpo", beta=2.0, simpo_gamma=0.5))
    assert float(loss.sum) == pytest.approx(weighted(terms), rel=1e-5)


def test_the_sft_term_raises_the_likelihood_of_the_chosen():
    plain, more = loss_of(DpoConfig()), loss_of(DpoConfig(sft_coef=0.3))
    mean = [s / n for s, n in zip(SUM, LENGTH, strict=True)]
    expected = weighted([-0.3 * mean[w] for w, *_ in SIDES])
    assert float(more.sum - plain.sum) == pytest.approx(expected, rel=1e-4)


def test_implicit_rewards_are_logged_and_equal_ones_are_half_right():
    even = torch.tensor(REFERENCE)
    even[0] = SUM[0] - RATIO[2]
    values = dpo.loss(outputs(), MASK, even, PAIRS, DpoConfig(beta=0.4)).metrics.values()
    assert values["dpo/accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert values["dpo/margin"] == pytest.approx(0.4 * (0.5 + 0.0 + 0.5) / 3)
    assert values["dpo/chosen_reward"] == pytest.approx(0.4 * (0.5 + 0.0 + 1.0) / 3)


def test_kto_raises_desirable_and_lowers_undesirable_responses():
    desirable = torch.tensor([True, False, True, False, False])
    config = DpoConfig(loss="kto", beta=0.4, desirable_weight=2.0, undesirable_weight=0.5)
    reference = torch.tensor(REFERENCE)
    loss = dpo.kto_loss(outputs(), MASK, reference, desirable, config, kl=0.3)
    terms = [
        (2.0 if good else 0.5) / (1 + math.exp((1 if good else -1) * 0.4 * (ratio - 0.3)))
        for ratio, good in zip(RATIO, desirable.tolist(), strict=True)
    ]
    assert float(loss.sum) == pytest.approx(sum(terms), rel=1e-5)
    assert loss.weight == 5
    assert loss.metrics.values()["dpo/accuracy"] == 0.0
