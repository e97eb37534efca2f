"""What judges said, as columns: one vote per pair of responses and judge, ratings, rankings."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.maths.crowd import DawidSkene, Labels, dawid_skene
from palate.maths.ratings import Votes
from palate.records import (
    Choice,
    Group,
    Judgement,
    Preference,
    Ranking,
    Rating,
    Skip,
    Tie,
    preferences_of,
)

Array = NDArray[np.floating]
Indices = NDArray[np.intp]
FIRST, TIED, SECOND = range(3)
"""A vote about responses i < j of a group: i is better, neither is, j is better."""
RETRACTED = ("undone", "adjudicated")
"""Reasons of skips that only take back what was said before."""


class Vote(NamedTuple):
    """What a judge thinks of responses i < j of a group.

    `strength` is -4 to 4 (positive: i is better; 0: a tie; NaN: not graded), `shown` 1 where i was
    shown first, -1 where j was and 0 where more were shown, `length` the sign of len i - len j.
    """

    value: int
    strength: float
    shown: int
    length: int


class Place(NamedTuple):
    """Where a vote belongs: the numbers of its prompt, its pair and the policies of i and j."""

    prompt: int
    pair: int
    policy: int
    other: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballots:
    """The last vote of every judge about every pair, in order of appearance; rows are votes.

    >>> ballots([]).judges
    ()
    """

    judges: tuple[str, ...]
    policies: tuple[str, ...]
    judge: Indices
    places: Indices
    votes: Array

    @property
    def prompt(self) -> Indices:
        """The number of each vote's prompt."""
        return self.places[:, 0]

    @property
    def pair(self) -> Indices:
        """The number of each vote's pair."""
        return self.places[:, 1]

    @property
    def value(self) -> Indices:
        """FIRST, TIED or SECOND."""
        return self.votes[:, 0].astype(np.intp)

    @property
    def toward_first(self) -> Array:
        """1, 0.5 or 0 for i over j."""
        return 1 - self.votes[:, 0] / 2

    def policy_votes(self) -> Votes:
        """The votes about two different named policies."""
        first, second = self.places[:, 2], self.places[:, 3]
        named = (first >= 0) & (second >= 0) & (first != second)
        return Votes(
            first=first[named],
            second=second[named],
            outcome=self.toward_first[named],
            prompt=self.prompt[named],
            voter=self.judge[named],
        )


class Tally(NamedTuple):
    """How often one judge spoke, skipped, tied and called both bad, and the seconds it took."""

    judgements: int
    skipped: int
    ties: int
    both_bad: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Everything that judges said about some groups.

    `ratings[dimension]` holds (prompt, group, response) -> judge -> rating, and `rankings` holds
    (prompt, group) -> judge -> complete ranks.
    """

    prompts: int
    groups: int
    tallies: dict[str, Tally]
    ballots: Ballots
    ratings: dict[str, dict[tuple[int, int, int], dict[int, int]]]
    rankings: dict[tuple[int, int], dict[int, tuple[int, ...]]]


@dataclass(slots=True)
class _Numbers:
    """Names in the order in which they are first seen."""

    of: dict[str, int] = field(default_factory=dict[str, int])

    def __call__(self, name: str) -> int:
        return self.of.setdefault(name, len(self.of))


def said(judged: Iterable[tuple[Group, Sequence[Judgement]]]) -> Said:
    """Read judged groups once; a judge who spoke twice about a pair counts with the last word."""
    judges, prompts, policies, pairs = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    cast: dict[tuple[int, int], tuple[Place, Vote]] = {}
    spoken: dict[str, list[Judgement]] = defaultdict(list)
    ratings: dict[str, dict[tuple[int, int, int], dict[int, int]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    rankings: dict[tuple[int, int], dict[int, tuple[int, ...]]] = defaultdict(dict)
    groups = 0
    for group, judgements in judged:
        prompt = prompts(group.prompt.id)
        for judgement in judgements:
            judge, verdict = judges(judgement.judge), judgement.verdict
            spoken[judgement.judge].append(judgement)
            if isinstance(verdict, Rating):
                for i in judgement.order or range(group.k):
                    ratings[verdict.dimension][prompt, groups, i][judge] = verdict.values[i]
                continue
            if isinstance(verdict, Ranking) and None not in verdict.ranks:
                complete = tuple(rank for rank in verdict.ranks if rank is not None)
                rankings[prompt, groups][judge] = complete
            for (i, j), vote in votes_of(group, judgement):
                pair = pairs(f"{groups}:{i}:{j}")
                ours, theirs = (_policy(policies, group, index) for index in (i, j))
                cast[pair, judge] = Place(prompt, pair, ours, theirs), vote
        groups += 1
    return Said(
        prompts=len(prompts.of),
        groups=groups,
        tallies={judge: _tally(all_of_it) for judge, all_of_it in spoken.items()},
        ballots=Ballots(
            judges=tuple(judges.of),
            policies=tuple(policies.of),
            judge=np.array([judge for _, judge in cast], np.intp),
            places=np.array([place for place, _ in cast.values()], np.intp).reshape(-1, 4),
            votes=np.array([vote for _, vote in cast.values()], float).reshape(-1, 4),
        ),
        ratings=ratings,
        rankings=rankings,
    )


def ballots(judged: Iterable[tuple[Group, Sequence[Judgement]]]) -> Ballots:
    """The votes alone."""
    return said(judged).ballots


def votes_of(group: Group, judgement: Judgement) -> list[tuple[tuple[int, int], Vote]]:
    """The votes about pairs of different texts that a judgement implies."""
    shown = judgement.order or tuple(range(group.k))
    votes: list[tuple[tuple[int, int], Vote]] = []
    for preference in preferences_of(judgement.verdict, shown):
        i, j = sorted((preference.winner, preference.loser))
        texts = group.responses[i].text, group.responses[j].text
        if texts[0] == texts[1]:
            continue
        position = 0 if len(shown) != 2 else (1 if tuple(shown) == (i, j) else -1)
        longer = int(np.sign(len(texts[0]) - len(texts[1])))
        value = _value(preference, i)
        vote = Vote(value, _strength(judgement, value), position, longer)
        votes.append(((i, j), vote))
    return votes


def _value(preference: Preference, first: int) -> int:
    if preference.probability == 0.5:
        return TIED
    better = preference.winner if preference.probability > 0.5 else preference.loser
    return FIRST if better == first else SECOND


def _strength(judgement: Judgement, value: int) -> float:
    match judgement.verdict:
        case Tie():
            return 0.0
        case Choice(strength=strength):
            return float(strength if value == FIRST else -strength)
        case _:
            return float("nan")


def _policy(policies: _Numbers, group: Group, index: int) -> int:
    name = group.responses[index].policy
    return policies(name) if name else -1


def _tally(judgements: Sequence[Judgement]) -> Tally:
    verdicts = [judgement.verdict for judgement in judgements]
    skips = [v for v in verdicts if isinstance(v, Skip)]
    ties = [v for v in verdicts if isinstance(v, Tie)]
    return Tally(
        judgements=len(verdicts) - len(skips),
        skipped=sum(skip.reason not in RETRACTED for skip in skips),
        ties=len(ties),
        both_bad=sum(tie.both_bad for tie in ties),
        seconds=tuple(j.seconds for j in judgements if j.seconds is not None),
    )


def reliability(cast: Ballots) -> DawidSkene | None:
    """Dawid and Skene's model of the votes about pairs that two judges or more voted on.

    Raters are numbered as `cast.judges`; None where no pair has two votes.
    """
    shared = np.bincount(cast.pair)[cast.pair] > 1
    if not shared.any():
        return None
    different, item = np.unique(cast.pair[shared], return_inverse=True)
    return dawid_skene(
        Labels(
            item=item,
            rater=cast.judge[shared],
            value=cast.value[shared],
            items=len(different),
            raters=len(cast.judges),
            values=3,
        )
    )
