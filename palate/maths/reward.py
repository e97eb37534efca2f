"""Negative log-likelihoods (nats) of judgements under scores: pairs, rankings, ties, ratings.

All depend on differences of scores only: a reward has no origin.
"""

import torch
from torch.nn.functional import logsigmoid, pad

from palate.maths.shapes import (
    Outcome,
    PerGroup,
    PerPair,
    PerRank,
    Ranking,
    Scalar,
    Thresholds,
)


def bradley_terry(score_difference: PerPair, probability: PerPair, margin: PerPair) -> PerPair:
    """-p log sigmoid(d - margin) - (1 - p) log sigmoid(-d - margin), d = r(winner) - r(loser).

    Bradley and Terry 1952; Ouyang et al. 2022 (arXiv:2203.02155) eq. 1 at p = 1; the margin is that
    of Touvron et al. 2023 (arXiv:2307.09288) eq. 2. p is the probability that the label is right.
    """
    right = logsigmoid(score_difference - margin)
    wrong = logsigmoid(-score_difference - margin)
    return -(probability * right + (1.0 - probability) * wrong)


def preferred(score_difference: PerPair, *, noise: float) -> PerPair:
    """P(a preferred to b) = sigmoid((s_a - s_b) / noise); without noise 1, 1/2 (a tie) or 0.

    Bradley and Terry 1952, with noise in units of the score.
    """
    if noise == 0:
        return 0.5 * (1.0 + score_difference.sign())
    return torch.sigmoid(score_difference / noise)


def smoothed(probability: PerPair, *, smoothing: float) -> PerPair:
    """(1 - e) p + e (1 - p): what p becomes when a fraction e of the labels is flipped.

    Training on it fits the flipped labels, so the optimum is not the true reward.
    """
    return (1.0 - smoothing) * probability + smoothing * (1.0 - probability)


def unsmoothed(probability: PerPair, *, smoothing: float) -> PerPair:
    """(p - e) / (1 - 2 e): inverts `smoothed`; below 0 or above 1 for hard labels.

    In a loss linear in p it undoes a fraction e of flipped labels in expectation: Chowdhury et al.
    2024 (arXiv:2403.00409).
    """
    return (probability - smoothing) / (1.0 - 2.0 * smoothing)


def plackett_luce(scores: PerRank, order: Ranking) -> PerGroup:
    """sum_i logsumexp_{j>=i} s_j - s_i over a ranking, best first: Plackett 1975, Luce 1959.

    order[g, i] is the index of the response in place i of group g.
    """
    ranked = scores.gather(1, order)
    rest = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    return (rest - ranked).sum(dim=1)


def davidson(difference: PerPair, outcome: Outcome, *, nu: Scalar | float) -> PerPair:
    """Pairs with ties: P(win), P(loss), P(tie) in proportion exp(d/2), exp(-d/2), nu.

    Davidson 1970; outcome is 1 for a win, -1 for a loss, 0 for a tie.
    """
    tie = torch.as_tensor(nu).to(difference).log().expand_as(difference)
    total = torch.stack([difference / 2, -difference / 2, tie]).logsumexp(dim=0)
    return total - torch.where(outcome == 0, tie, outcome * difference / 2)


def cumulative_logit(difference: PerPair, grade: Outcome, thresholds: Thresholds) -> PerPair:
    """Graded comparisons: P(grade <= k) = sigmoid(thresholds[k] - d), McCullagh 1980.

    grade is 0 (worst) to K for K increasing thresholds. By
    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)) nothing cancels.
    """
    below = pad(thresholds, (1, 0), value=-torch.inf)[grade] - difference
    above = pad(thresholds, (0, 1), value=torch.inf)[grade] - difference
    return -(logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(below - above)))
