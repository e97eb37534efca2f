# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""Intervals, calibration, sample sizes and diversity of what was measured.

Several responses to one prompt are not independent, so means take a cluster (a prompt id) per
value and their errors are robust to any dependence within it.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.floating]


class Interval(NamedTuple):
    """An estimate and its confidence interval, in the estimate's unit."""

    estimate: float
    low: float
    high: float


class ClusteredError(NamedTuple):
    """A mean, its cluster-robust standard error and the degrees of freedom of that error."""

    mean: float
    error: float
    freedom: int


def _by_cluster(values: ArrayLike, clusters: Iterable[Hashable]) -> tuple[Array, Array]:
    members: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, np.asarray(values, np.float64).tolist(), strict=True):
        members.setdefault(cluster, []).append(value)
    sums, counts = [sum(group) for group in members.values()], list(map(len, members.values()))
    return np.array(sums), np.array(counts, np.float64)


def clustered_error(values: ArrayLike, clusters: Iterable[Hashable]) -> ClusteredError:
    """The mean of all values and its standard error, sqrt(C/(C-1) sum_c (sum_i e_ci)^2) / n.

    Liang and Zeger 1986, for C clusters and residuals e.
    """
    sums, counts = _by_cluster(values, clusters)
    if len(counts) < 2:
        raise ValueError("an interval needs values from at least 2 clusters (prompts)")
    freedom, n = len(counts) - 1, counts.sum()
    mean = sums.sum() / n
    variance = np.square(sums - mean * counts).sum() * len(counts) / freedom
    return ClusteredError(float(mean), math.sqrt(variance) / float(n), freedom)


def clustered_mean(
    values: ArrayLike, clusters: Iterable[Hashable], *, level: float = 0.95
) -> Interval:
    """The mean with a cluster-robust t interval."""
    mean, error, freedom = clustered_error(values, clusters)
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half)


def robust_distances(values: ArrayLike) -> Array:
    """How far each value is from the median, in robust standard deviations.

    One is 1.4826 times the median absolute deviation; infinitely far where that is 0.

    >>> robust_distances([1, 1, 1, 2]).tolist()
    [0.0, 0.0, 0.0, inf]
    """
    given = np.asarray(values, float)
    if not given.size:
        return given
    away = np.abs(given - np.median(given))
    spread = 1.4826 * float(np.median(away))
    return away / spread if spread else np.where(away > 0, np.inf, 0.0)


def _wilson(p: float, n: float, z: float) -> Interval:
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, min(p, max(0.0, center - half)), max(p, min(1.0, center + half)))


def wilson(wins: float, n: int, *, level: float = 0.95) -> Interval:
    """The share of wins among n independent trials with its score interval, Wilson 1927."""
    return _wilson(wins / n, float(n), float(special.ndtri((1 + level) / 2)))


def paired_win_rate(
    outcomes: ArrayLike, clusters: Iterable[Hashable], *, level: float = 0.95
) -> Interval:
    """The mean of outcomes 1 (win), 0.5 (tie), 0 (loss), with a Wilson interval for clusters.

    Wilson's n is the number of independent trials with the same standard error (Korn and Graubard
    1998), so the interval stays inside [0, 1] and has width even when every outcome is the same.
    """
    mean, error, freedom = clustered_error(outcomes, clusters)
    effective = mean * (1 - mean) / error**2 if error > 1e-9 else freedom + 1.0
    return _wilson(mean, effective, float(special.stdtrit(freedom, (1 + level) / 2)))


def independent_difference(first: Interval, second: Interval) -> Interval:
    """first - second of two independent shares, from their own intervals: Newcombe 1998, method 10
    (doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I)."""
    gap = first.estimate - second.estimate
    down = math.hypot(first.estimate - first.low, second.high - second.estimate)
    up = math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(gap, gap - down, gap + up)


def accuracy(
    score_differences: ArrayLike, clusters: Iterable[Hashable], *, level: float = 0.95
) -> Interval:
    """The share of preferences whose winner scores higher (equal scores count half)."""
    return paired_win_rate(np.heaviside(score_differences, 0.5), clusters, level=level)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Iterable[Hashable],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean with a percentile interval over `draws` resamples of whole clusters, Efron 1979."""
    sums, counts = _by_cluster(values, clusters)
    times = np.random.default_rng(seed).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=draws
    )
    low, high = np.quantile(times @ sums / (times @ counts), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def bin_of(probabilities: Array, bins: int) -> NDArray[np.intp]:
    """The bin of equal width over [0, 1], from 0, that each probability falls into."""
    return np.minimum((probabilities * bins).astype(np.intp), bins - 1)


def expected_calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10
) -> float:
    """sum_b n_b / n |mean p - mean outcome| over bins of equal width: Guo et al. 2017
    (arXiv:1706.04599). Not 0 under perfect calibration: see `calibration_null`.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(outcomes, np.float64)
    gaps = np.bincount(bin_of(p, bins), weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


class CalibrationNull(NamedTuple):
    """The expected calibration error that perfectly calibrated predictions would show."""

    mean: float
    p95: float


def calibration_null(
    probabilities: ArrayLike, *, seed: int, bins: int = 10, draws: int = 1000
) -> CalibrationNull:
    """Mean and 95th percentile of the calibration error when outcomes follow the probabilities."""
    p = np.asarray(probabilities, np.float64)
    rng = np.random.default_rng(seed)
    errors = [
        expected_calibration_error(p, rng.random(len(p)) < p, bins=bins) for _ in range(draws)
    ]
    return CalibrationNull(float(np.mean(errors)), float(np.quantile(errors, 0.95)))


def distinct_n(texts: Iterable[Sequence[Hashable]], n: int) -> float:
    """Different n-grams over all n-grams of some token sequences, Li et al. 2016
    (arXiv:1510.03055); 0 when no sequence is long enough.
    """
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1) / n nats, an upper bound of KL(best of n || policy): Beirami et al. 2024
    (arXiv:2401.01879).
    """
    return math.log(n) - (n - 1) / n


def sample_size(p: float, power: float, *, level: float = 0.95) -> int:
    """Independent comparisons needed to tell a win rate p from 1/2, two-sided, with this power."""
    return math.ceil(_needed(p, power, level))


def _needed(p: float, power: float, level: float) -> float:
    z_level, z_power = float(special.ndtri((1 + level) / 2)), float(special.ndtri(power))
    return ((z_level / 2 + z_power * math.sqrt(p * (1 - p))) / (p - 0.5)) ** 2


def detectable_win_rate(n: int, power: float, *, level: float = 0.95) -> float:
    """The smallest win rate above 1/2 that n independent comparisons tell from it; 1 at most.

    `sample_size` solved for p.
    """
    z_level, z_power = float(special.ndtri((1 + level) / 2)), float(special.ndtri(power))
    if n <= z_level**2:
        return 1.0
    root = z_power * math.sqrt(n + z_power**2 - z_level**2)
    return min(1.0, 0.5 + (z_level * math.sqrt(n) + root) / (2 * (n + z_power**2)))
