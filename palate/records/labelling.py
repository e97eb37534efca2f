"""What people are asked about the groups of a project, and what one of them answered."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from palate.records.base import Record
from palate.records.judgement import Choice, Ranking, Rating, Verdict

Arm = Literal["random", "uncertain", "disputed", "outlier"]
"""A way to pick what people are asked next."""
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


class LabelTask(Record):
    """How a project is labelled: what is asked, how often, and how answers are checked.

    `overlap` people answer each question. Of every `gold_every` (`repeat_every`) questions one is a
    check with a known answer (one that the same person answered before); 0 asks none. New
    annotators first answer `qualification` checks and have to reach `pass_mark`. Whoever falls
    below it, or answers faster than `fastest_seconds` (the median of twenty), is paused.

    To compare `policies` is an arena: pairs are of two policies, which are named after the vote.
    With `arms`, questions are picked instead of asked in order, `control` of them at random.

    >>> LabelTask(kind="ranking").overlap
    1
    """

    kind: Literal["pairwise", "ranking", "rating"] = "pairwise"
    steps: Literal[4, 7] = 7
    dimensions: tuple[Line, ...] = Field(default=("helpful", "honest", "harmless"), max_length=8)
    reasons: tuple[Line, ...] = Field(
        default=("correct", "wrong facts", "clear", "too long", "too short", "off topic", "unsafe"),
        max_length=20,
    )
    guidelines: str = Field(default="", max_length=20_000)
    overlap: int = Field(default=1, ge=1, le=50)
    pairs_per_group: int = Field(default=1, ge=0, le=100)
    compare: Literal["responses", "policies"] = "responses"
    arms: tuple[Arm, ...] = ()
    control: float = Field(default=0.25, gt=0, le=1)
    lease_minutes: int = Field(default=30, ge=1, le=1440)
    gold_every: int = Field(default=0, ge=0, le=1000)
    repeat_every: int = Field(default=0, ge=0, le=1000)
    qualification: int = Field(default=0, ge=0, le=100)
    pass_mark: float = Field(default=0.7, ge=0, le=1)
    fastest_seconds: float = Field(default=0.0, ge=0, le=600)

    @model_validator(mode="after")
    def _something_is_rated(self) -> Self:
        if self.kind == "rating" and not self.dimensions:
            raise ValueError("a rating task needs at least one dimension")
        if len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError("two dimensions have the same name")
        return self

    @model_validator(mode="after")
    def _blind_before_the_vote(self) -> Self:
        if self.compare == "policies" and (self.kind, self.pairs_per_group) != ("pairwise", 1):
            raise ValueError(
                "policies are compared in one pair per prompt, so that nobody meets an answer "
                "again after its policy was named"
            )
        return self


class Answer(Record):
    """What a person said about an item.

    Verdicts and `better`, their own text, count responses as the group stores them. `late` means
    that the lease had ended before; `flagged` responses may have named who wrote them.

    >>> Answer(verdicts=(Choice(chosen=0),), seconds=4.0).better
    ''
    """

    verdicts: tuple[Verdict, ...]
    seconds: float = Field(ge=0)
    reasons: tuple[str, ...] = ()
    note: str = Field(default="", max_length=10_000)
    better: str = Field(default="", max_length=100_000)
    late: bool = False
    flagged: tuple[int, ...] = ()


def preferred(verdicts: tuple[Verdict, ...], shown: tuple[int, ...]) -> tuple[int, ...]:
    """The responses of `shown` that verdicts put first; all of them where none is better.

    >>> preferred((Choice(chosen=1),), (0, 1)), preferred((), (0, 1))
    ((1,), (0, 1))
    """
    places = standings(verdicts, shown)
    return tuple(i for i in shown if places[i] == 0)


def standings(verdicts: tuple[Verdict, ...], shown: tuple[int, ...]) -> dict[int, int]:
    """The place of each response of `shown`: 0 is best, and equal places are ties.

    >>> standings((Ranking(ranks=(2, None, 0)),), (0, 1, 2))
    {0: 1, 1: 2, 2: 0}
    """
    value = dict.fromkeys(shown, 0.0)
    for verdict in verdicts:
        for i in shown:
            match verdict:
                case Choice(chosen=chosen):
                    value[i] += float(i == chosen)
                case Ranking(ranks=ranks):
                    rank = ranks[i]
                    value[i] -= len(ranks) if rank is None else rank
                case Rating(values=values):
                    value[i] += values[i]
                case _:
                    pass
    levels = sorted(set(value.values()), reverse=True)
    return {i: levels.index(value[i]) for i in shown}
