import math

import numpy as np
import pytest
from scipy import special

from palate.evaluation.results import RewardModelResult
from palate.evaluation.rewards import (
    bayes_accuracy,
    judge_reward_model,
    length_ruler_accuracy,
    row_probe,
)
from palate.records import PromptId


def judged(margins: np.ndarray) -> RewardModelResult:
    return judge_reward_model(
        margins,
        np.zeros(len(margins)),
        [PromptId(f"p{i // 2}") for i in range(len(margins))],
        chosen_lengths=np.full(len(margins), 9),
        rejected_lengths=np.full(len(margins), 9),
        seed=0,
    )


def noisy_margins(n: int, *, scale: float) -> np.ndarray:
    """Margins of a model that knows the true differences, times a scale, on noisy labels."""
    rng = np.random.default_rng(6)
    difference = rng.normal(0, 2, n)
    label = np.where(rng.random(n) < special.expit(difference), 1, -1)
    return scale * difference * label


def test_bayes_accuracy_is_the_sigmoid_of_the_difference_over_the_noise():
    assert bayes_accuracy([2 * math.log(3), -2 * math.log(3)], noise=2.0) == pytest.approx(0.75)
    assert bayes_accuracy([0.0], noise=1.0) == 0.5
    assert bayes_accuracy([math.log(3), 0.0], noise=1.0) == pytest.approx((0.75 + 0.5) / 2)


def test_without_noise_only_equal_scores_are_a_coin():
    assert bayes_accuracy([1.0, -0.1, 3.0, 0.0], noise=0.0) == 3.5 / 4


def test_the_true_taste_reaches_its_bayes_accuracy_on_noisy_labels():
    margins = noisy_margins(4000, scale=1.0)
    result = judged(margins)
    assert result.accuracy.low < bayes_accuracy(margins, noise=1.0) < result.accuracy.high


def test_equal_scores_are_right_half_the_time():
    result = judged(np.array([1.0, -1.0, 0.0, 2.0]))
    assert result.accuracy.estimate == 2.5 / 4
    assert (result.n_pairs, result.n_prompts) == (4, 2)


def test_the_ruler_may_prefer_short_answers():
    assert length_ruler_accuracy([5, 4, 9, 7], [6, 8, 2, 9]) == 0.75
    assert length_ruler_accuracy([6, 8, 2, 9], [5, 4, 9, 7]) == 0.75
    assert length_ruler_accuracy([5, 5], [5, 4]) == 0.75


def test_a_calibrated_model_stays_below_the_null_and_an_overconfident_one_does_not():
    calibrated, sure = judged(noisy_margins(2000, scale=1)), judged(noisy_margins(2000, scale=4))
    assert calibrated.ece < calibrated.ece_null_p95
    assert 0 < calibrated.ece_null_mean < calibrated.ece_null_p95
    assert sure.ece > 2 * sure.ece_null_p95
    assert sure.accuracy == calibrated.accuracy
    assert sure.log_loss > calibrated.log_loss
    assert sure.brier > calibrated.brier


def test_a_model_without_opinion_has_the_losses_of_a_coin():
    result = judged(np.zeros(10))
    assert result.log_loss == pytest.approx(math.log(2))
    assert result.brier == 0.25
    assert result.ece == 0


def test_reliability_bins_hold_all_pairs_and_their_own_share_of_right_ones():
    confident, wavering = math.log(0.925 / 0.075), math.log(0.575 / 0.425)
    result = judged(np.array([confident] * 9 + [-confident] + [wavering] * 6 + [-wavering] * 4))
    assert [b.predicted for b in result.bins] == pytest.approx([0.575, 0.925])
    assert [b.observed.estimate for b in result.bins] == [0.6, 0.9]
    assert [b.n for b in result.bins] == [10, 10]


def test_the_probe_is_the_accuracy_within_each_row():
    rows = ["safe", "direct", "safe", "direct", "safe"]
    probe = row_probe(rows, [2.0, 1.0, 0.0, 1.0, 5.0], [1.0, 1.0, 1.0, 0.0, 1.0])
    assert [(r.name, r.value, r.n) for r in probe] == [
        ("safe", pytest.approx(2 / 3), 3),
        ("direct", 0.75, 2),
    ]
