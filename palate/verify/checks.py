"""What a proof is: a claim, a run that reaches something, and gates that it has to stay within."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from palate.records.base import Record

Reached = Mapping[str, float]
"""Named measures: distances to an optimum (nats, probabilities, units of reward), p-values."""


class Gate(Record):
    """Bounds of a measure; None is no bound. A measure that is not a number is never inside.

    >>> below(0.1).admits(0.05), below(0.1).admits(float("nan"))
    (True, False)
    """

    low: float | None = None
    high: float | None = None

    def admits(self, value: float) -> bool:
        """Whether a value lies within the bounds."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= value <= high

    def __str__(self) -> str:
        if self.low is None:
            return f"< {self.high:.3g}"
        if self.high is None:
            return f"> {self.low:.3g}"
        both = f"{self.low:.3g} .. {self.high:.3g}"
        return f"= {self.low:.3g}" if self.low == self.high else both


def below(high: float) -> Gate:
    """At most this much: a distance."""
    return Gate(high=high)


def above(low: float) -> Gate:
    """At least this much: how far away something else is, or a p-value."""
    return Gate(low=low)


def between(low: float, high: float) -> Gate:
    """From low to high."""
    return Gate(low=low, high=high)


class Result(Record):
    """What one check reached, against its gates; every gate has its measure."""

    name: str
    row: str
    objective: str
    optimum: str
    reached: dict[str, float]
    gates: dict[str, Gate]
    seconds: float

    @property
    def missed(self) -> tuple[str, ...]:
        """The measures outside their gates."""
        return tuple(n for n, gate in self.gates.items() if not gate.admits(self.reached[n]))

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return not self.missed


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the proof: what is optimised, where that leads, how to run it, how near is near.

    `row` names the acceptance test that the gates come from (`docs/verify.md` lists them).
    """

    name: str
    row: str
    objective: str
    optimum: str
    run: Callable[[int], Reached]
    gates: Mapping[str, Gate]


def prove(check: Check, *, seed: int) -> Result:
    """Run a check with one seed."""
    begun = time.perf_counter()
    reached = check.run(seed)
    return Result(
        name=check.name,
        row=check.row,
        objective=check.objective,
        optimum=check.optimum,
        reached=dict(reached),
        gates=dict(check.gates),
        seconds=time.perf_counter() - begun,
    )
