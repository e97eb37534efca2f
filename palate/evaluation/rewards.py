"""What a reward model knows: held-out accuracy, the limits around it, calibration, the six rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from palate.evaluation.results import CalibrationBin, RewardModelResult, RowResult
from palate.evaluation.winrate import outcomes
from palate.maths.statistics import (
    accuracy,
    bin_of,
    calibration_null,
    expected_calibration_error,
    paired_win_rate,
)
from palate.records import PromptId

BINS = 20
"""Calibration bins over [0, 1]; confidences lie in [0.5, 1], so half of them can be filled."""


def judge_reward_model(
    chosen_scores: ArrayLike,
    rejected_scores: ArrayLike,
    prompt_ids: Sequence[PromptId],
    *,
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    seed: int,
    bayes_accuracy: float | None = None,
    probe: tuple[RowResult, ...] = (),
) -> RewardModelResult:
    """Accuracy and calibration of a reward model on N held-out preferences.

    The seed draws the simulated labels of a perfectly calibrated model.
    """
    margins = np.asarray(chosen_scores, float) - np.asarray(rejected_scores, float)
    confidence, right = special.expit(np.abs(margins)), np.heaviside(margins, 0.5)
    null = calibration_null(confidence, seed=seed, bins=BINS)
    return RewardModelResult(
        accuracy=accuracy(margins, prompt_ids),
        length_ruler_accuracy=length_ruler_accuracy(chosen_lengths, rejected_lengths),
        bayes_accuracy=bayes_accuracy,
        ece=expected_calibration_error(confidence, right, bins=BINS),
        ece_null_mean=null.mean,
        ece_null_p95=null.p95,
        brier=float(np.square(1 - special.expit(margins)).mean()),
        log_loss=float(-special.log_expit(margins).mean()),
        bins=reliability(confidence, right, prompt_ids),
        n_pairs=len(margins),
        n_prompts=len(set(prompt_ids)),
        probe=probe,
    )


def length_ruler_accuracy(chosen_lengths: ArrayLike, rejected_lengths: ArrayLike) -> float:
    """The share of pairs that the better of "longer wins" and "shorter wins" gets right.

    Singhal et al. 2023 (arXiv:2310.03716); equal lengths count half.
    """
    difference = np.asarray(chosen_lengths, float) - np.asarray(rejected_lengths, float)
    longer = float(np.heaviside(difference, 0.5).mean())
    return max(longer, 1 - longer)


def bayes_accuracy(true_score_differences: ArrayLike, *, noise: float) -> float:
    """mean max(p, 1 - p), p = sigmoid(d / noise): the accuracy of the true taste on its own labels.

    Labels drawn with P(a over b) = sigmoid((s_a - s_b) / noise) let nobody do better.
    """
    distance = np.abs(np.asarray(true_score_differences, float))
    if noise == 0:
        return float(np.where(distance > 0, 1.0, 0.5).mean())
    return float(special.expit(distance / noise).mean())


def row_probe(
    rows: Sequence[str], better_scores: ArrayLike, worse_scores: ArrayLike
) -> tuple[RowResult, ...]:
    """Accuracy per row of the taste on matched pairs that differ in that row alone."""
    right = outcomes(better_scores, worse_scores)
    named = np.array(rows)
    results = []
    for name in dict.fromkeys(rows):
        of_row = right[named == name]
        results.append(RowResult(name=name, value=float(of_row.mean()), n=len(of_row)))
    return tuple(results)


def reliability(
    confidence: NDArray[np.float64], right: NDArray[np.float64], prompt_ids: Sequence[PromptId]
) -> tuple[CalibrationBin, ...]:
    """Mean confidence and share of right preferences per bin of equal width.

    Bins with fewer than two prompts have no interval and are left out.
    """
    index = bin_of(confidence, BINS)
    bins = []
    for b in np.unique(index):
        members = np.flatnonzero(index == b).tolist()
        prompts = [prompt_ids[i] for i in members]
        if len(set(prompts)) > 1:
            observed = paired_win_rate(right[members], prompts)
            predicted = float(confidence[members].mean())
            bins.append(CalibrationBin(predicted=predicted, observed=observed, n=len(members)))
    return tuple(bins)
