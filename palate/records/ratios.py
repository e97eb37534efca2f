"""How far the updates of one step moved the probabilities of the sampled tokens, as counts."""

from pydantic import Field

from palate.records.base import Record

RATIO_BINS = 19
"""Nine inside the bounds, four outside on either side, and one for all beyond on either side."""


class RatioCounts(Record):
    """Tokens of a step's updates by their ratio pi / pi_old, in ninths of the way to the bounds.

    Bin 9 is around 1, bins 5 to 13 are inside the bounds 1 - low and 1 + high. `raised` are tokens
    of positive advantage, which become more likely, `lowered` those of negative.

    >>> counts = RatioCounts(step=0, low=0.2, high=0.2, raised=(0,) * 19, lowered=(1,) * 19)
    >>> counts.edges[5], counts.edges[14], counts.clipped
    (0.8, 1.2, 5)
    """

    step: int
    low: float
    high: float
    raised: tuple[int, ...] = Field(min_length=RATIO_BINS, max_length=RATIO_BINS)
    lowered: tuple[int, ...] = Field(min_length=RATIO_BINS, max_length=RATIO_BINS)

    @property
    def edges(self) -> tuple[float, ...]:
        """The ends of the bins, from 1 - 19/9 low to 1 + 19/9 high; the last ones hold the rest."""
        ninths = range(-RATIO_BINS, RATIO_BINS + 1, 2)
        return tuple(1 + (self.high if n > 0 else self.low) * n / 9 for n in ninths)

    @property
    def clipped(self) -> int:
        """Tokens that clipping leaves without a gradient: raised above, or lowered below."""
        return sum(self.raised[14:]) + sum(self.lowered[:5])
