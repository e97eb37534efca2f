"""Mergeable metrics: scalars are (sum, count) pairs, so micro-batches and ranks never matter."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mean:
    """A weighted mean in the making.

    >>> (Mean(3.0, 2.0) + Mean(1.0, 2.0)).value
    1.0
    """

    sum: float
    count: float

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.sum + other.sum, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; 0 when nothing was counted."""
        return self.sum / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Named means, added name by name.

    >>> (Metrics({"kl": Mean(2.0, 1.0)}) + Metrics({"kl": Mean(4.0, 1.0)})).values()
    {'kl': 3.0}
    """

    means: Mapping[str, Mean] = field(default_factory=dict)

    def __add__(self, other: "Metrics") -> "Metrics":
        merged = dict(self.means)
        for name, mean in other.means.items():
            merged[name] = merged[name] + mean if name in merged else mean
        return Metrics(merged)

    def values(self) -> dict[str, float]:
        """Plain numbers, sorted by name."""
        return {name: self.means[name].value for name in sorted(self.means)}
