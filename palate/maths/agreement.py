# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""How far raters agree, beyond raw and chance-corrected, with intervals over items.

A unit is one thing that several raters gave a value (which response of a pair is better). Every
coefficient but Kendall's is a function of one matrix that adds up over units, so an interval over
items needs no more than the sum of each item's units.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from palate.maths.statistics import Interval

Array = NDArray[np.floating]
Metric = Literal["nominal", "ordinal", "interval"]


class UndefinedError(ValueError):
    """A coefficient does not exist for these ratings; the message says why."""


def value_counts(ratings: ArrayLike, values: Array) -> Array:
    """How many raters gave a unit each value, [unit, value], from [rater, unit]; NaN is missing."""
    given = np.asarray(ratings, np.float64)
    return (given[:, :, None] == values).sum(0).astype(np.float64)


def coincidences(counts: ArrayLike) -> Array:
    """Pairs of values by different raters, each over m - 1 for the unit's m raters.

    [unit, value, value] from [unit, value]: Krippendorff 2018, ch. 12. Units with one rater are 0.
    """
    n = np.asarray(counts, np.float64)
    pairs = n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(n.shape[1])
    return pairs / np.maximum(n.sum(1) - 1, 1)[:, None, None]


def observed_agreement(coincidence: ArrayLike) -> float:
    """The share of pairs of raters who gave a unit the same value; a unit weighs by its raters."""
    pairs = np.asarray(coincidence, np.float64)
    if not pairs.sum():
        raise UndefinedError("no unit has two raters")
    return float(np.trace(pairs) / pairs.sum())


def fleiss_kappa(coincidence: ArrayLike) -> float:
    """(P - P_e) / (1 - P_e), P_e = sum_v p_v^2, for units with equally many raters: Fleiss 1971."""
    observed, pairs = observed_agreement(coincidence), np.asarray(coincidence, np.float64)
    return _beyond_chance(observed, float(np.square(pairs.sum(1) / pairs.sum()).sum()))


def cohen_kappa(table: ArrayLike) -> float:
    """(p - p_e) / (1 - p_e), p_e = sum_v p_v. p_.v, for two raters: Cohen 1960.

    `table[v, w]` counts the units to which the first rater gave value v and the second w.
    """
    counts = np.asarray(table, np.float64)
    if not counts.sum():
        raise UndefinedError("the two raters have no unit in common")
    shares = counts / counts.sum()
    return _beyond_chance(float(np.trace(shares)), float(shares.sum(0) @ shares.sum(1)))


def _beyond_chance(observed: float, expected: float) -> float:
    if expected == 1:
        raise UndefinedError("all raters gave all units the same value")
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(coincidence: ArrayLike, values: Array, *, metric: Metric) -> float:
    """1 - D_o / D_e, the observed over the expected disagreement: Krippendorff 2018, ch. 12.

    `values` increase. Any number of raters and missing ratings are fine.
    """
    pairs = np.asarray(coincidence, np.float64)
    times, total = pairs.sum(1), float(pairs.sum())
    if not total:
        raise UndefinedError("no unit has two raters")
    distance = _distance(times, values, metric)
    expected = float(times @ distance @ times) / (total - 1)
    if expected == 0:
        raise UndefinedError("all raters gave all units the same value")
    return 1 - float((pairs * distance).sum()) / expected


def _distance(times: Array, values: Array, metric: Metric) -> Array:
    match metric:
        case "nominal":
            return 1 - np.eye(len(values))
        case "interval":
            return np.square(values[:, None] - values)
        case "ordinal":
            middle = np.cumsum(times) - times / 2
            return np.square(middle[:, None] - middle)


def kendall_w(ranks: ArrayLike) -> float:
    """Concordance of m complete rankings of n objects with ties, [rater, object], 0 to 1.

    (12 sum_j R_j^2 - 3 m^2 n (n + 1)^2) / (m^2 n (n^2 - 1) - m sum_i T_i), T = sum t^3 - t over a
    ranking's tied groups: Kendall 1948; ties share their mean rank.
    """
    ranked = stats.rankdata(np.asarray(ranks, np.float64), axis=1)
    m, n = ranked.shape
    if m < 2 or n < 2:
        raise UndefinedError("concordance needs two rankings of two objects")
    ties = 0.0
    for row in ranked:
        _, tied = np.unique(row, return_counts=True)
        ties += float((tied.astype(np.float64) ** 3 - tied).sum())
    span = m**2 * n * (n**2 - 1) - m * ties
    if span == 0:
        raise UndefinedError("every ranking ties all objects")
    total = np.square(ranked.sum(0)).sum()
    return float((12 * total - 3 * m**2 * n * (n + 1) ** 2) / span)


def bootstrap(
    statistic: Callable[[Array], float],
    parts: ArrayLike,
    *,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """A statistic of the sum of parts[item] with a percentile interval over resampled items.

    Items with equal parts are drawn together, so the cost grows with the different ones only. Draws
    in which the statistic is undefined are left out. Efron 1979.
    """
    items = np.asarray(parts, np.float64)
    alike, times = np.unique(items.reshape(len(items), -1), axis=0, return_counts=True)
    estimate = statistic(items.sum(0))
    rng, found = np.random.default_rng(seed), list[float]()
    for _ in range(draws):
        drawn = rng.multinomial(len(items), times / len(items)) @ alike
        try:
            found.append(statistic(drawn.reshape(items.shape[1:])))
        except UndefinedError:
            continue
    if not found:
        raise UndefinedError("no resample of the items has a value")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def single_label_accuracy(agreement: float) -> float:
    """q with q^2 + (1 - q)^2 = agreement: how often one of two equally good raters is right.

    Holds for two values and independent errors; an agreement of at most 1/2 gives 1/2.
    """
    return (1 + max(0.0, 2 * agreement - 1) ** 0.5) / 2
