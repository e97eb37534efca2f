"""Time and throughput of people: seconds per answer, answers per hour and per day.

Seconds are those in which a person had the page before them, over the answers of the last 30 days.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Connection, select

from palate.store.schema import AssignmentRow

DAYS = 30
_NEWEST = 20_000
"""Answers of a project that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The answers of one person in some time, checks and repetitions included."""

    answers: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How one person works: `median` is in seconds per answer, `days` are those (UTC) on which
    there were answers, newest first, and `last` is when the last one came.

    >>> day = Work(answers=90, seconds=1800.0)
    >>> pace = Pace(median=15.0, days={date(2026, 1, 2): day}, last=0.0)
    >>> pace.total.answers, pace.per_hour, pace.per_day
    (90, 180.0, 90.0)
    """

    median: float
    days: Mapping[date, Work]
    last: float

    @property
    def total(self) -> Work:
        """All days together."""
        return Work(
            answers=sum(day.answers for day in self.days.values()),
            seconds=sum(day.seconds for day in self.days.values()),
        )

    @property
    def per_hour(self) -> float:
        """Answers in an hour of work; 0 where no time was measured."""
        total = self.total
        return 3600 * total.answers / total.seconds if total.seconds else 0.0

    @property
    def per_day(self) -> float:
        """Answers on a day with answers."""
        return self.total.answers / len(self.days)


def paces(connection: Connection, project: int, *, now: float) -> dict[int, Pace]:
    """The pace of everybody who has answered lately, by person."""
    rows = connection.execute(
        select(
            AssignmentRow.person_id,
            AssignmentRow.answered_at,
            AssignmentRow.answer["seconds"].as_float(),
        )
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.state == "answered",
            AssignmentRow.answered_at > now - DAYS * 24 * 3600,
        )
        .order_by(AssignmentRow.answered_at.desc())
        .limit(_NEWEST)
    )
    answers: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for person, at, seconds in rows:
        answers[person].append((at or now, seconds))
    return {person: _pace(said) for person, said in answers.items()}


def _pace(answers: list[tuple[float, float]]) -> Pace:
    days: dict[date, list[float]] = defaultdict(list)
    for at, seconds in answers:
        days[datetime.fromtimestamp(at, UTC).date()].append(seconds)
    return Pace(
        median=statistics.median(seconds for _, seconds in answers),
        days={day: Work(answers=len(each), seconds=sum(each)) for day, each in days.items()},
        last=answers[0][0],
    )
