"""The loss of a reward model by hand: two groups, one of which has three judged pairs."""

import math

import pytest
import torch

from palate.algorithms import reward
from palate.batches.pairs import Pairs
from palate.config.stages import RewardConfig
from palate.interfaces import Outputs

SCORES = [1.0, -0.5, 2.0, 0.25, 0.25]
PAIRS = Pairs(
    winner=torch.tensor([0, 2, 2, 3]),
    loser=torch.tensor([1, 0, 1, 4]),
    probability=torch.tensor([1.0, 0.8, 0.5, 0.9]),
    margin=torch.tensor([0.5, 0.0, 0.0, 1.0]),
    weight=torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]),
    num_groups=2.0,
)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def loss_of(config: RewardConfig):
    empty = torch.zeros(0)
    outputs = Outputs(logprobs=empty, entropy=empty, values=empty, scores=torch.tensor(SCORES))
    return reward.loss(outputs, PAIRS, config)


def by_hand(*, smoothing: float, margin_coef: float) -> float:
    differences, labels = [1.5, 1.0, 2.5, 0.0], [1.0, 0.8, 0.5, 0.9]
    terms = []
    for d, p, margin in zip(differences, labels, [0.5, 0.0, 0.0, 1.0], strict=True):
        q = (1 - smoothing) * p + smoothing * (1 - p)
        m = margin_coef * margin
        terms.append(-q * log_sigmoid(d - m) - (1 - q) * log_sigmoid(-d - m))
    return sum(terms[:3]) / 3 + terms[3]


@pytest.mark.parametrize(("smoothing", "margin_coef"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.7)])
def test_the_loss_is_a_mean_within_groups_summed_over_groups(smoothing, margin_coef):
    config = RewardConfig(label_smoothing=smoothing, margin_coef=margin_coef)
    loss = loss_of(config)
    expected = by_hand(smoothing=smoothing, margin_coef=margin_coef)
    assert float(loss.sum) == pytest.approx(expected, rel=1e-5)
    assert loss.weight == 2


def test_accuracy_is_over_decided_pairs_and_equal_scores_are_wrong():
    values = loss_of(RewardConfig()).metrics.values()
    assert values["reward/accuracy"] == pytest.approx(2 / 3)
    assert values["reward/difference"] == pytest.approx((1.5 + 1.0 + 2.5 + 0.0) / 4)
    assert values["reward/loss"] == pytest.approx(by_hand(smoothing=0, margin_coef=0) / 2, rel=1e-5)


def test_the_prefix_loss_is_the_same_loss_on_means_over_tokens_and_is_weighed():
    config = RewardConfig(prefix_coef=0.5, label_smoothing=0.1, margin_coef=0.7)
    lengths = torch.tensor([4, 1, 2, 3, 1])
    means = torch.tensor(SCORES).flip(0)
    spread = torch.arange(4) < lengths[:, None]
    empty = torch.zeros(0)
    shown = torch.tensor([0.0, 0.5, 3.0, -1.0, 4.0])
    outputs = Outputs(
        logprobs=empty,
        entropy=empty,
        values=means[:, None] * spread,
        scores=shown,
    )
    loss = reward.loss(outputs, PAIRS, config, lengths)
    whole = loss_at(shown, config)
    assert float(loss.sum) == pytest.approx(whole + 0.5 * loss_at(means, config), rel=1e-5)
    assert loss.metrics.values()["reward/loss"] == pytest.approx(whole / 2, rel=1e-5)
    assert loss.weight == 2


def loss_at(scores: torch.Tensor, config: RewardConfig) -> float:
    empty = torch.zeros(0)
    plain = config.model_copy(update={"prefix_coef": 0.0})
    outputs = Outputs(logprobs=empty, entropy=empty, values=empty, scores=scores)
    return float(reward.loss(outputs, PAIRS, plain).sum)
