"""What a judge said about a group: a choice, a tie, a ranking, ratings, scores or preferences.

People, AI judges, verifiers, reward models and simulated annotators all produce the same record.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from palate.records.base import GroupId, JudgementId, Record, content_id
from palate.records.conversation import Group, Prompt, Response

LARGEST = 1e30
"""Scores and margins are no larger in size: single precision holds their differences."""


def _no_text(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("expected a number")
    return value


_Stars = Annotated[int, BeforeValidator(_no_text), Field(ge=1, le=5)]
_Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]


class Choice(Record):
    """One response of the group is the best; `strength` grades how clearly (1 is slightly)."""

    kind: Literal["choice"] = "choice"
    chosen: int = Field(ge=0, strict=True)
    strength: int = Field(default=1, ge=1, le=4, strict=True)


class Tie(Record):
    """No response is better; `both_bad` says that none is acceptable."""

    kind: Literal["tie"] = "tie"
    both_bad: bool = Field(default=False, strict=True)


class Ranking(Record):
    """`ranks[i]` is the rank of response i: 0 is best, equal ranks are ties, None is unranked."""

    kind: Literal["ranking"] = "ranking"
    ranks: tuple[Annotated[int, Field(strict=True)] | None, ...] = Field(min_length=2)


class Rating(Record):
    """Likert ratings, `values[i]` of response i on the named dimension (1 to 5, 5 is best)."""

    kind: Literal["rating"] = "rating"
    dimension: str = "overall"
    values: tuple[_Stars, ...]


class Scores(Record):
    """Real-valued scores, `values[i]` of response i (higher is better)."""

    kind: Literal["scores"] = "scores"
    values: tuple[_Number, ...]


class Skip(Record):
    """The judge did not decide: skipped by a person, or unparsable from a model."""

    kind: Literal["skip"] = "skip"
    reason: str


class Preference(Record):
    """Response `winner` of a group is preferred to response `loser` with this probability.

    `probability` is 1 for a hard label, 0.5 for a tie; `margin` is the required score difference.
    """

    winner: int = Field(ge=0, strict=True)
    loser: int = Field(ge=0, strict=True)
    probability: float = Field(default=1.0, ge=0, le=1, strict=True)
    margin: _Number = 0.0

    @model_validator(mode="after")
    def _two_responses(self) -> Self:
        if self.winner == self.loser:
            raise ValueError("a preference needs two different responses")
        return self


class Preferences(Record):
    """Pairs with their probabilities and margins, as a data set states them."""

    kind: Literal["preferences"] = "preferences"
    pairs: tuple[Preference, ...] = Field(min_length=1)


Verdict = Annotated[
    Choice | Tie | Ranking | Rating | Scores | Skip | Preferences, Field(discriminator="kind")
]
JudgeKind = Literal["person", "simulated", "imported", "model"]
_KINDS: dict[str, JudgeKind] = {
    "person": "person",
    "annotator": "simulated",
    "import": "imported",
}


def judge_kind(judge: str) -> JudgeKind:
    """Who a judge is, by the prefix of its name; what has none is a model, a rule or a verifier.

    >>> judge_kind("person:ann"), judge_kind("annotator:cafe"), judge_kind("verifier:math")
    ('person', 'simulated', 'model')
    """
    return _KINDS.get(judge.partition(":")[0], "model")


class Judgement(Record):
    """One judge's verdict about one group, an append-only event.

    `order` lists the responses that were shown, in that order (empty: all, as stored); `seed` is
    that of a random judge; a judgement that corrects an earlier one names it in `supersedes`.
    `reasons` are tags that a person chose, and `note` is what they wrote.

    >>> Judgement(group_id="g", judge="ann", verdict=Choice(chosen=1)).verdict.chosen
    1
    """

    group_id: GroupId
    judge: str
    verdict: Verdict
    order: tuple[Annotated[int, Field(strict=True)], ...] = ()
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False, strict=True)
    seed: int | None = Field(default=None, strict=True)
    supersedes: JudgementId | None = None
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def id(self) -> JudgementId:
        """Content hash; reasons and a note count where there are any."""
        unsaid = {name for name in ("reasons", "note") if not getattr(self, name)}
        return JudgementId(content_id(self.model_dump(mode="json", exclude=unsaid)))


def speaks_of(judgement: Judgement, k: int) -> bool:
    """Whether a judgement names responses of a group of k, and no others.

    >>> speaks_of(Judgement(group_id="g", judge="ann", verdict=Choice(chosen=2)), 2)
    False
    """
    if not set(judgement.order) <= set(range(k)):
        return False
    match judgement.verdict:
        case Choice(chosen=chosen):
            return chosen < k
        case Ranking(ranks=values) | Rating(values=values) | Scores(values=values):
            return len(values) == k
        case Preferences(pairs=pairs):
            return all(pair.winner < k and pair.loser < k for pair in pairs)
        case Tie() | Skip():
            return True


class JudgedGroup(Record):
    """A group and what was said about it: the whole of a project's feedback, row by row."""

    group: Group
    judgements: tuple[Judgement, ...]

    @model_validator(mode="after")
    def _about_this_group(self) -> Self:
        for judgement in self.judgements:
            if judgement.group_id != self.group.id:
                raise ValueError(f"a judgement is about group {judgement.group_id}")
        return self


class PreferenceGroup(Record):
    """A group and the preferences that hold in it: what reward models and DPO train on."""

    group: Group
    preferences: tuple[Preference, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _indices_exist(self) -> Self:
        k = self.group.k
        for preference in self.preferences:
            if preference.winner >= k or preference.loser >= k:
                raise ValueError(f"a preference names response {preference} of a group of {k}")
        return self


class Unpaired(Record):
    """A single response marked desirable or not: what KTO trains on."""

    prompt: Prompt
    response: Response
    desirable: bool


def _by_value(values: dict[int, float]) -> tuple[Preference, ...]:
    pairs: list[Preference] = []
    for i, j in itertools.combinations(values, 2):
        if values[i] == values[j]:
            pairs.append(Preference(winner=i, loser=j, probability=0.5))
        else:
            winner, loser = (i, j) if values[i] > values[j] else (j, i)
            pairs.append(Preference(winner=winner, loser=loser))
    return tuple(pairs)


def preferences_of(verdict: Verdict, shown: Sequence[int]) -> tuple[Preference, ...]:
    """Every preference that a verdict about the responses `shown` implies (ties: probability 0.5).

    A choice says that the chosen one beats the others shown, with margin `strength - 1`; unranked
    responses lose to ranked ones and say nothing about each other; a skip implies nothing.
    """
    match verdict:
        case Choice(chosen=chosen, strength=strength):
            margin = float(strength - 1)
            others = [i for i in shown if i != chosen]
            return tuple(Preference(winner=chosen, loser=i, margin=margin) for i in others)
        case Tie():
            return _by_value(dict.fromkeys(shown, 0.0))
        case Ranking(ranks=ranks):
            ranked = {i: -float(rank) for i in shown if (rank := ranks[i]) is not None}
            tail = [i for i in shown if ranks[i] is None]
            return (
                *_by_value(ranked),
                *(Preference(winner=i, loser=j) for i in ranked for j in tail),
            )
        case Rating(values=values) | Scores(values=values):
            return _by_value({i: float(values[i]) for i in shown})
        case Preferences(pairs=pairs):
            return pairs
        case Skip():
            return ()
