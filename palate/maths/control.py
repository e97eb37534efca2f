# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""How the KL coefficient follows the measured KL, and the certificate of a KL budget."""

import math
from collections.abc import Hashable, Iterable

from numpy.typing import ArrayLike
from scipy import special

from palate.maths.statistics import clustered_error


def adaptive_step(coef: float, kl: float, *, target: float, horizon: int, episodes: int) -> float:
    """The next coefficient: coef * (1 + clip(kl / target - 1, -0.2, 0.2) * episodes / horizon).

    Ziegler et al. 2019 (arXiv:1909.08593); kl is the latest episodes' mean sequence KL in nats. At
    most `horizon` episodes count, so that the coefficient stays above 0.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * min(episodes, horizon) / horizon)


def dual_step(coef: float, kl: float, *, budget: float, lr: float) -> float:
    """The next coefficient by dual ascent: log coef += lr * (kl - budget) / budget, kl in nats."""
    return coef * math.exp(lr * (kl - budget) / budget)


def kl_upper_bound(
    sequence_kl: ArrayLike, clusters: Iterable[Hashable], *, level: float = 0.95
) -> float:
    """One-sided upper confidence bound of the mean sequence KL (nats), clustered by prompt.

    `sequence_kl` is k1 summed over each response: with k3 the bound loses its coverage.
    """
    mean, error, freedom = clustered_error(sequence_kl, clusters)
    return mean + float(special.stdtrit(freedom, level)) * error
