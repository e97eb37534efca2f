# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""Scores of items that were compared in pairs: Bradley-Terry, Davidson's ties, rank ranges."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.sparse import csgraph

from palate.maths.statistics import Interval

Array = NDArray[np.floating]
Indices = NDArray[np.intp]
ELO = 400 / math.log(10)
"""Elo points per nat."""


class Ratings(NamedTuple):
    """Scores in nats that sum to 0, and their covariance; Elo is 400 / ln 10 times the score."""

    scores: Array
    covariance: Array


class TieRatings(NamedTuple):
    """Ratings, and log nu of Davidson's ties with its variance; -inf where nothing tied."""

    ratings: Ratings
    log_tie: float
    log_tie_variance: float


def islands(wins: ArrayLike) -> list[list[int]]:
    """Sets of items that beat each other through some chain, with wins[i, j] of i over j.

    More than one: without a ridge, scores are infinite (Ford 1957).
    """
    won = np.asarray(wins, np.float64) > 0
    found = csgraph.connected_components(won, connection="strong")
    count, label = cast("tuple[int, Indices]", found)
    return [np.flatnonzero(label == island).tolist() for island in range(count)]


def bradley_terry_fit(wins: ArrayLike, *, ridge: float = 0.0) -> Ratings:
    """argmax sum_ij wins[i, j] log sigmoid(s_i - s_j) - ridge / 2 |s|^2: Bradley and Terry 1952.

    A tie is half a win each. With a ridge above 0, items may lose always or never meet. The
    covariance is the pseudo-inverse of the Fisher information.
    """
    won = np.asarray(wins, np.float64)
    _refuse_islands(won, ridge)
    met = won + won.T

    def loss(scores: Array) -> float:
        fit = -(won * special.log_expit(scores[:, None] - scores)).sum()
        return float(fit + ridge / 2 * scores @ scores)

    def gradient(scores: Array) -> Array:
        expected = (met * special.expit(scores[:, None] - scores)).sum(1)
        return expected - won.sum(1) + ridge * scores

    def fisher(scores: Array) -> Array:
        p = special.expit(scores[:, None] - scores)
        weights = met * p * (1 - p)
        return np.diag(weights.sum(1)) - weights + ridge * np.eye(len(won))

    scores = minimum(loss, gradient, fisher, np.zeros(len(won)))
    return centered(scores, np.linalg.pinv(fisher(scores), rcond=1e-8, hermitian=True))


def davidson_fit(wins: ArrayLike, ties: ArrayLike, *, ridge: float = 0.0) -> TieRatings:
    """P(i beats j) = e^s_i / D, P(tie) = nu e^((s_i + s_j) / 2) / D, D the sum: Davidson 1970.

    `ties[i, j]` = `ties[j, i]` counts ties of i and j; the ridge is that of `bradley_terry_fit`.
    """
    won, tied = np.asarray(wins, np.float64), np.triu(np.asarray(ties, np.float64), 1)
    if not tied.any():
        return TieRatings(bradley_terry_fit(won, ridge=ridge), -math.inf, math.inf)
    tied_both = tied + tied.T
    _refuse_islands(won + tied_both, ridge)
    n, met = len(won), won + won.T + tied_both

    def shares(x: Array) -> tuple[Array, Array]:
        logits = x[:n, None] - x[:n]
        weights = np.stack([logits / 2, -logits / 2, np.full_like(logits, x[n])])
        win, _, tie = special.softmax(weights, axis=0)
        return win, tie

    def loss(x: Array) -> float:
        win, tie = shares(x)
        ties_once = tied * np.log(np.maximum(tie, 1e-300))
        fit = -(won * np.log(np.maximum(win, 1e-300)) + ties_once).sum()
        return float(fit + ridge / 2 * x[:n] @ x[:n])

    def gradient(x: Array) -> Array:
        win, tie = shares(x)
        points = (met * (win + tie / 2) - won - tied_both / 2).sum(1)
        return np.append(points + ridge * x[:n], (met * tie).sum() / 2 - tied.sum())

    def fisher(x: Array) -> Array:
        win, tie = shares(x)
        spread = met * (win + tie / 4 - np.square(win + tie / 2))
        cross = (met * (tie / 2 - tie * (win + tie / 2))).sum(1)
        nu = (met * tie * (1 - tie)).sum() / 2
        scores = np.diag(spread.sum(1)) - spread + ridge * np.eye(n)
        return np.block([[scores, cross[:, None]], [cross[None], np.array([[nu]])]])

    best = minimum(loss, gradient, fisher, np.zeros(n + 1))
    covariance = np.linalg.pinv(fisher(best), rcond=1e-8, hermitian=True)
    ratings = centered(best[:n], covariance[:n, :n])
    return TieRatings(ratings, float(best[n]), float(covariance[n, n]))


def centered(scores: Array, covariance: Array) -> Ratings:
    """The same ratings with scores that sum to 0: what they have in common is only the prior's."""
    center = np.eye(len(scores)) - 1 / len(scores)
    return Ratings(center @ scores, center @ covariance @ center)


def minimum(
    loss: Callable[[Array], float],
    gradient: Callable[[Array], Array],
    hessian: Callable[[Array], Array],
    start: Array,
) -> Array:
    """Where a smooth loss is smallest: Newton steps on |Hessian|, halved until the loss falls."""
    x, here = start, loss(start)
    for _ in range(200):
        size, axes = np.linalg.eigh(hessian(x))
        size = np.maximum(np.abs(size), 1e-12 * np.abs(size).max())
        step = -axes @ ((axes.T @ gradient(x)) / size)
        while (there := loss(x + step)) > here and np.abs(step).max() > 1e-12:
            step = step / 2
        x, here = x + step, there
        if np.abs(step).max() < 1e-10:
            break
    return x


def _refuse_islands(wins: Array, ridge: float) -> None:
    if ridge == 0 and len(islands(wins)) > 1:
        raise ValueError(
            "ratings are infinite: some items never lose to, or never meet, the others; "
            "collect more comparisons, leave those items out, or add a ridge"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """N votes: item `first` against item `second`, 1 (first wins), 0.5 (tie) or 0, by whom, where.

    >>> no = np.array([0])
    >>> Votes(first=no, second=no + 1, outcome=no + 1.0, prompt=no, voter=no).wins(2).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    first: Indices
    second: Indices
    outcome: Array
    prompt: Indices
    voter: Indices

    def wins(self, items: int, weights: ArrayLike = 1.0) -> Array:
        """wins[i, j], the weight of i's wins over j; a tie is half a win each."""
        weights = np.asarray(weights, np.float64)
        return self._table(items, self.outcome * weights, (1 - self.outcome) * weights)

    def decided(self, items: int, weights: ArrayLike = 1.0) -> tuple[Array, Array]:
        """wins[i, j] without ties, and ties[i, j] = ties[j, i]."""
        weights = np.asarray(weights, np.float64)
        won, lost, tied = ((self.outcome == x) * weights for x in (1.0, 0.0, 0.5))
        return self._table(items, won, lost), self._table(items, tied, tied)

    def _table(self, items: int, forward: Array, backward: Array) -> Array:
        there, back = self.first * items + self.second, self.second * items + self.first
        table = np.bincount(there, forward, items**2) + np.bincount(back, backward, items**2)
        return cast(Array, table.reshape(items, items))


class RatingRange(NamedTuple):
    """A score in nats with its interval, and the best and worst rank (from 1) it may have."""

    score: Interval
    best_rank: int
    worst_rank: int


def capped_weights(voter: Indices, *, share: float) -> Array:
    """One weight per vote, 1 or less, so that no voter has more than `share` of all weight.

    Whoever voted too often has them all weighed alike. With fewer than 1 / share voters there is no
    such weight, and every vote has 1.

    >>> capped_weights(np.array([0, 0, 0, 0, 1, 2]), share=0.5).tolist()
    [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    """
    _, number, sizes = np.unique(voter, return_inverse=True, return_counts=True)
    falling = np.sort(sizes)[::-1]
    uncapped = falling[::-1].cumsum()[::-1]
    for capped, (size, others) in enumerate(zip(falling, uncapped, strict=True)):
        if capped * share >= 1:
            break
        most = share * others / (1 - capped * share)  # so that most = share (capped most + others)
        if size <= most:
            return np.minimum(1.0, most / sizes)[number]
    return np.ones(len(voter))


def rated_with_ranges(
    votes: Votes,
    items: int,
    *,
    ridge: float,
    seed: int,
    weights: ArrayLike = 1.0,
    draws: int = 200,
    level: float = 0.95,
) -> list[RatingRange]:
    """Davidson's scores with intervals that hold for new prompts and new voters, and ranks.

    Variances add up as V(prompts) + V(voters) - V(both), each from resampling whole prompts, whole
    voters, or all that one voter said about one prompt: Cameron, Gelbach and Miller 2011
    (doi:10.1198/jbes.2010.07136).
    """
    weights = np.asarray(weights, np.float64)
    scores = davidson_fit(*votes.decided(items, weights), ridge=ridge).ratings.scores
    _, both = np.unique(np.stack([votes.prompt, votes.voter]), axis=1, return_inverse=True)
    by_prompt, by_voter, by_both = (
        _variance(votes, items, index, weights, ridge=ridge, seed=seed, draws=draws)
        for index in (votes.prompt, votes.voter, both)
    )
    variance = np.maximum(by_prompt + by_voter - by_both, np.maximum(by_prompt, by_voter))
    half = float(special.ndtri((1 + level) / 2)) * np.sqrt(variance)
    bounds = zip(scores, scores - half, scores + half, strict=True)
    return rank_ranges([Interval(*map(float, row)) for row in bounds])


def _variance(
    votes: Votes,
    items: int,
    index: Indices,
    weights: Array,
    *,
    ridge: float,
    seed: int,
    draws: int,
) -> Array:
    """The variance of the scores when all votes of equal index are resampled together."""
    rng, count = np.random.default_rng(seed), int(index.max()) + 1
    found: list[Array] = []
    for _ in range(draws if count > 1 else 1):
        times = rng.multinomial(count, np.full(count, 1 / count))[index]
        found.append(
            davidson_fit(*votes.decided(items, times * weights), ridge=ridge).ratings.scores
        )
    return np.var(found, axis=0) * count / max(count - 1, 1)


def without_each_voter(
    votes: Votes, items: int, *, ridge: float, weights: ArrayLike = 1.0
) -> Array:
    """Davidson's scores in nats, [voter, item]: row v leaves out the votes of the v-th voter."""
    found: list[Array] = []
    for voter in np.unique(votes.voter):
        kept = votes.decided(items, np.asarray(weights) * (votes.voter != voter))
        found.append(davidson_fit(*kept, ridge=ridge).ratings.scores)
    return np.stack(found)


def rank_ranges(scores: Sequence[Interval]) -> list[RatingRange]:
    """Ranks that intervals leave open: 1 + those surely above, to n - those surely below."""
    return [
        RatingRange(
            own,
            1 + sum(other.low > own.high for other in scores),
            len(scores) - sum(other.high < own.low for other in scores),
        )
        for own in scores
    ]
