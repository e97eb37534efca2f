"""Win rate of a policy over a baseline: ties are half, intervals clustered by prompt.

Zheng et al. 2023 (arXiv:2306.05685) for judging both orders; Dubois et al. 2024 (arXiv:2404.04475)
for the length-controlled rate; Miller 2024 (arXiv:2411.00640) for clustering.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from palate.evaluation.results import Comparison
from palate.maths.statistics import Interval, clustered_mean, paired_win_rate
from palate.records import PromptId, Verdict, preferences_of

Array = NDArray[np.float64]
UNKNOWN = Interval(0.5, 0.0, 1.0)
"""A rate about which the data say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """N pairs of responses to the same prompts: whose they are and how long, in tokens."""

    policy: str
    baseline: str
    prompt_ids: Sequence[PromptId]
    policy_lengths: Sequence[int]
    baseline_lengths: Sequence[int]


def compare(
    policy_scores: ArrayLike, baseline_scores: ArrayLike, pairs: Pairs, *, judge: str
) -> Comparison:
    """Win rate under a judge that scores one response at a time: the higher score wins."""
    won = outcomes(policy_scores, baseline_scores)
    if not np.isfinite(won).all():
        raise ValueError(f"{judge} gave scores that are not finite")
    return _comparison(won, pairs, judge=judge)


def outcomes(policy_scores: ArrayLike, baseline_scores: ArrayLike) -> Array:
    """1 where the policy's response scores higher, 0.5 where both score the same, else 0."""
    return np.heaviside(np.asarray(policy_scores, float) - np.asarray(baseline_scores, float), 0.5)


def paired_difference(
    one: ArrayLike, other: ArrayLike, prompt_ids: Sequence[PromptId]
) -> Interval | None:
    """mean(one - other) over pairs of values, with an interval clustered by prompt.

    The error is that of the differences, Var(one) + Var(other) - 2 Cov(one, other) per prompt
    (Miller 2024, section 4.2). Pairs with a NaN are left out; None below two prompts.
    """
    difference = np.asarray(one, float) - np.asarray(other, float)
    both = np.flatnonzero(np.isfinite(difference)).tolist()
    prompts = [prompt_ids[i] for i in both]
    return clustered_mean(difference[both], prompts) if len(set(prompts)) > 1 else None


def compare_verdicts(
    policy_first: Sequence[Verdict], baseline_first: Sequence[Verdict], pairs: Pairs, *, judge: str
) -> Comparison:
    """Win rate under a judge of pairs that saw every pair twice, with the sides swapped.

    A win counts only when both orders agree; otherwise the pair is a tie and a flip. A pair that
    was skipped in either order is invalid: it is counted and otherwise left out.
    """
    one = np.array([_first_wins(verdict) for verdict in policy_first])
    two = 1 - np.array([_first_wins(verdict) for verdict in baseline_first])
    valid = np.flatnonzero(np.isfinite(one + two)).tolist()
    if not valid:
        raise ValueError(f"{judge} gave no verdict in both orders on any pair")
    flipped = one[valid] != two[valid]
    comparison = _comparison(np.where(flipped, 0.5, one[valid]), _take(pairs, valid), judge=judge)
    update = {"flip_rate": float(flipped.mean()), "invalid": len(one) - len(valid)}
    return comparison.model_copy(update=update)


def length_controlled_win_rate(
    outcomes: ArrayLike, length_differences: ArrayLike, prompt_ids: Sequence[PromptId]
) -> Interval:
    """sigmoid(a), the win rate at equal length under P(win) = sigmoid(a + b tanh(d / rms(d))).

    Dubois et al. 2024, without the per-prompt difficulty, and with a cluster-robust error. Unlike
    the paper, lengths are scaled by their root mean square, and two imaginary ties, one for each
    sign of d, keep the fit finite; the error counts them with their expected information, so a
    length effect that cannot be told from the win rate gives a wide interval.
    """
    d = np.asarray(length_differences, float)
    scale = float(np.sqrt(np.mean(d**2))) or 1.0
    x = np.concatenate([np.tanh(d / scale), [1.0, -1.0]])
    y = np.concatenate([np.asarray(outcomes, float), [0.5, 0.5]])
    design = np.stack([np.ones_like(x), x], axis=1)

    def loss(weights: Array) -> float:
        logits = design @ weights
        return float((np.logaddexp(0.0, logits) - y * logits).sum())

    def gradient(weights: Array) -> Array:
        return design.T @ (special.expit(design @ weights) - y)

    weights = optimize.minimize(loss, np.zeros(2), jac=gradient, method="BFGS").x
    p = special.expit(design @ weights)
    weighted = design * (p * (1 - p))[:, None]
    _, cluster = np.unique(list(prompt_ids), return_inverse=True)
    pulls = np.zeros((cluster.max() + 1, 2))
    np.add.at(pulls, cluster, (design * (p - y)[:, None])[:-2])
    bread = np.linalg.inv(weighted.T @ design)
    spread = bread @ (pulls.T @ pulls + weighted[-2:].T @ design[-2:]) @ bread
    half = float(special.stdtrit(len(pulls) - 1, 0.975)) * np.sqrt(spread[0, 0])
    low, middle, high = special.expit([weights[0] - half, weights[0], weights[0] + half])
    return Interval(float(middle), float(low), float(high))


def longer_win_rate(
    outcomes: ArrayLike, length_differences: ArrayLike, prompt_ids: Sequence[PromptId]
) -> Interval:
    """P(the longer response wins) over pairs of unequal length; ties count half."""
    outcomes, d = np.asarray(outcomes, float), np.asarray(length_differences)
    unequal = np.flatnonzero(d).tolist()
    prompts = [prompt_ids[i] for i in unequal]
    if len(set(prompts)) < 2:
        return UNKNOWN
    return paired_win_rate(np.where(d > 0, outcomes, 1 - outcomes)[unequal], prompts)


def _first_wins(verdict: Verdict) -> float:
    """1, 0.5 or 0 for the response shown first; NaN when the judge did not decide."""
    preferences = preferences_of(verdict, range(2))
    if not preferences:
        return float("nan")
    preference = preferences[0]
    return preference.probability if preference.winner == 0 else 1 - preference.probability


def _take(pairs: Pairs, indices: Sequence[int]) -> Pairs:
    return Pairs(
        policy=pairs.policy,
        baseline=pairs.baseline,
        prompt_ids=[pairs.prompt_ids[i] for i in indices],
        policy_lengths=[pairs.policy_lengths[i] for i in indices],
        baseline_lengths=[pairs.baseline_lengths[i] for i in indices],
    )


def _comparison(outcomes: Array, pairs: Pairs, *, judge: str) -> Comparison:
    longer = np.asarray(pairs.policy_lengths) - np.asarray(pairs.baseline_lengths)
    return Comparison(
        policy=pairs.policy,
        baseline=pairs.baseline,
        judge=judge,
        prompts=len(set(pairs.prompt_ids)),
        wins=int((outcomes == 1).sum()),
        ties=int((outcomes == 0.5).sum()),
        losses=int((outcomes == 0).sum()),
        win_rate=paired_win_rate(outcomes, pairs.prompt_ids),
        length_controlled=length_controlled_win_rate(outcomes, longer, pairs.prompt_ids),
        longer_wins=longer_win_rate(outcomes, longer, pairs.prompt_ids),
    )
