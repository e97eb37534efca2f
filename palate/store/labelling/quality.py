"""Plain counts about the newest answers of a project: who chose what, how fast, how alike."""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from palate.records import Answer, Choice, Group, Judgement, preferred
from palate.store import queries
from palate.store.labelling.checks import check_results
from palate.store.pseudonyms import BY_PERSON
from palate.store.schema import (
    AssignmentRow,
    GroupRow,
    ItemRow,
    JudgementRow,
    PersonRow,
    ResponseRow,
)

NEWEST = 5000
"""Answers that are looked at."""
_PAGE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many.

    >>> str(Share(part=3, of=4))
    '75 % of 4'
    """

    part: int
    of: int

    def __str__(self) -> str:
        return f"{100 * self.part / self.of:.0f} % of {self.of}" if self.of else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How one annotator answers; `longer` is how often the longer of two responses was chosen."""

    name: str
    votes: int
    median_seconds: float
    first: Share
    longer: Share
    ties: Share
    checks: Share
    repeats: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Per-annotator habits, and how often two people gave the same answer to one question."""

    habits: tuple[Habits, ...]
    agreement: Share
    flagged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One answer: who gave it to which item, in which order the responses were shown."""

    person: int
    name: str
    item: int
    group: str
    purpose: str
    order: tuple[int, ...]
    answer: Answer

    @property
    def best(self) -> tuple[int, ...]:
        """The responses that it puts first."""
        return preferred(self.answer.verdicts, tuple(sorted(self.order)))


def votes(connection: Connection, project: int) -> list[Vote]:
    """The newest answers of a project."""
    rows = connection.execute(
        select(AssignmentRow, PersonRow.name, ItemRow.group_id)
        .join(PersonRow, PersonRow.id == AssignmentRow.person_id)
        .join(
            ItemRow,
            (ItemRow.project_id == AssignmentRow.project_id)
            & (ItemRow.position == AssignmentRow.item),
        )
        .where(AssignmentRow.project_id == project, AssignmentRow.state == "answered")
        .order_by(AssignmentRow.item.desc())
        .limit(NEWEST)
    )
    return [
        Vote(
            person=row.person_id,
            name=row.name,
            item=row.item,
            group=row.group_id,
            purpose=row.purpose,
            order=tuple(row.order),
            answer=Answer.model_validate(row.answer),
        )
        for row in rows
    ]


def measure(connection: Connection, project: int) -> Quality:
    """Sum up the newest answers."""
    found = votes(connection, project)
    ordinary = [vote for vote in found if vote.purpose == "ordinary"]
    lengths = _lengths(connection, project, {vote.group for vote in ordinary})
    by_person: dict[int, list[Vote]] = defaultdict(list)
    for vote in found:
        by_person[vote.person].append(vote)
    habits = [
        _habits(mine, lengths, check_results(connection, project, person))
        for person, mine in by_person.items()
    ]
    return Quality(
        habits=tuple(sorted(habits, key=lambda h: h.name)),
        agreement=agreement(ordinary),
        flagged=sum(bool(vote.answer.flagged) for vote in ordinary),
    )


def agreement(ordinary: Iterable[Vote]) -> Share:
    """Pairs of people with the same answer to one question, of all such pairs."""
    by_item: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for vote in ordinary:
        by_item[vote.item].append(vote.best)
    pairs = [pair for best in by_item.values() for pair in itertools.combinations(best, 2)]
    return Share(part=sum(a == b for a, b in pairs), of=len(pairs))


def _lengths(connection: Connection, project: int, groups: set[str]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    ids = sorted(groups)
    for start in range(0, len(ids), 400):
        rows = connection.execute(
            select(ResponseRow.group_id, ResponseRow.index, ResponseRow.body).where(
                ResponseRow.project_id == project,
                ResponseRow.group_id.in_(ids[start : start + 400]),
            )
        )
        found |= {(id, index): len(str(body["text"])) for id, index, body in rows}
    return found


def _habits(mine: list[Vote], lengths: dict[tuple[str, int], int], checks: list[bool]) -> Habits:
    ordinary = [vote for vote in mine if vote.purpose == "ordinary"]
    chosen = [
        (vote, said.chosen)
        for vote in ordinary
        if len(vote.order) == 2 and isinstance(said := vote.answer.verdicts[0], Choice)
    ]
    unequal = [
        lengths[vote.group, best] > lengths[vote.group, other]
        for vote, best in chosen
        for other in vote.order
        if lengths[vote.group, other] != lengths[vote.group, best]
    ]
    said_first = {vote.item: vote.best for vote in ordinary}
    again = [vote for vote in mine if vote.purpose == "repeat" and vote.item in said_first]
    ties = sum(vote.answer.verdicts[0].kind == "tie" for vote in ordinary)
    return Habits(
        name=mine[0].name,
        votes=len(ordinary),
        median_seconds=statistics.median(vote.answer.seconds for vote in mine),
        first=Share(part=sum(vote.order[0] == best for vote, best in chosen), of=len(chosen)),
        longer=Share(part=sum(unequal), of=len(unequal)),
        ties=Share(part=ties, of=len(ordinary)),
        checks=Share(part=sum(checks), of=len(checks)),
        repeats=Share(part=sum(v.best == said_first[v.item] for v in again), of=len(again)),
    )


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Increasing numbers as (first, last) of what follows without a gap, at most 400 at a time."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position - 1 and position - runs[-1][0] < _PAGE:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs


def judged_by_people(
    connection: Connection, project: int, *, limit: int
) -> list[tuple[Group, tuple[Judgement, ...]]]:
    """The groups that people judged last, each with what people said about it."""
    here = (JudgementRow.project_id == project, JudgementRow.judge.startswith(BY_PERSON))
    newest = (
        select(JudgementRow.group_id)
        .where(*here)
        .group_by(JudgementRow.group_id)
        .order_by(func.max(JudgementRow.position).desc())
        .limit(limit)
    )
    positions = select(GroupRow.position).where(
        GroupRow.project_id == project, GroupRow.id.in_(newest)
    )
    pages = [
        queries.judged_page(connection, project, first - 1, last)
        for first, last in _runs(connection.scalars(positions.order_by(GroupRow.position)).all())
    ]
    return [
        (group, tuple(j for j in said if j.judge.startswith(BY_PERSON)))
        for page in pages
        for group, said in page
    ]
