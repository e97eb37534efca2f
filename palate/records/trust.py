"""What an on-policy run found out about itself: a few identities, measured on its first step."""

from palate.records.base import Record


class TrustCheck(Record):
    """One identity: the largest deviation seen, and the most that rounding explains.

    >>> TrustCheck(row="N1", claim="probabilities sum to one", value=2e-7, gate=1e-5).holds
    True
    """

    row: str
    claim: str
    value: float
    gate: float

    @property
    def holds(self) -> bool:
        """Whether the deviation is within the gate; what is not a number never is."""
        return self.value <= self.gate


class TrustRecord(Record):
    """The checks of one stage: at which step (from 0), in which precision, and what was left out.

    >>> TrustRecord(step=0, precision="fp32", checks=(), left_out="").missed
    ()
    """

    step: int
    precision: str
    checks: tuple[TrustCheck, ...]
    left_out: str

    @property
    def missed(self) -> tuple[TrustCheck, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)


def complaint(check: TrustCheck) -> str:
    """A miss in one sentence.

    >>> complaint(TrustCheck(row="N3", claim="sampler equals scorer", value=0.5, gate=1e-4))
    'N3: sampler equals scorer: off by 0.5, at most 0.0001 is rounding'
    """
    return (
        f"{check.row}: {check.claim}: off by {check.value:.2g}, at most {check.gate:g} is rounding"
    )


TRUST_REMEDY = (
    'set compute.precision = "fp32"; if it stays, do not believe this run: please report the model'
)
"""What to do about a miss."""
