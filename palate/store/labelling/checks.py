"""Watching quality while people work: known answers, speed and side, and pausing who fails."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select, update

from palate.records import Answer, Choice, LabelTask, Tie, preferred
from palate.store.labelling.desk import audit
from palate.store.labelling.lease import CHECKS
from palate.store.schema import AssignmentRow, ItemRow, MemberRow

_RECENT_CHECKS = 10
_FEWEST_CHECKS = 5
_RECENT_TIMES = 20
_SAME_SIDE = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a new annotator learns after a qualifying question: whether they agreed with the known
    answer, and which responses it prefers."""

    agreed: bool
    preferred: tuple[int, ...]


def agrees(answer: Answer, expected: Answer, shown: tuple[int, ...]) -> bool:
    """Whether two answers put the same responses first."""
    return preferred(answer.verdicts, shown) == preferred(expected.verdicts, shown)


def watch(
    connection: Connection,
    task: LabelTask,
    member: Row[MemberRow],
    expected: Answer | None,
    answer: Answer,
    *,
    shown: tuple[int, ...],
    now: float,
) -> Feedback | None:
    """Pause, admit or leave alone the member who has just answered; no owner is paused, who writes
    the checks."""
    results = check_results(connection, member.project_id, member.person_id)
    if member.state == "qualifying":
        if len(results) >= task.qualification:
            passed = sum(results) >= task.pass_mark * len(results)
            state, reason = ("active", "") if passed else ("paused", "qualification")
            set_state(connection, member, state, reason, now=now)
        return _feedback(expected, answer, shown)
    reason = "" if member.role == "owner" else _fault(connection, task, member, results)
    if reason:
        set_state(connection, member, "paused", reason, now=now)
    return None


def _feedback(expected: Answer | None, answer: Answer, shown: tuple[int, ...]) -> Feedback | None:
    if expected is None:
        return None
    agreed = agrees(answer, expected, shown)
    return Feedback(agreed=agreed, preferred=preferred(expected.verdicts, shown))


def _fault(
    connection: Connection, task: LabelTask, member: Row[MemberRow], results: Sequence[bool]
) -> str:
    recent = results[:_RECENT_CHECKS]
    if len(recent) >= _FEWEST_CHECKS and sum(recent) < task.pass_mark * len(recent):
        return "checks"
    answers = recent_answers(connection, member.project_id, member.person_id, _SAME_SIDE)
    seconds = [answer.seconds for _, answer in answers[:_RECENT_TIMES]]
    if len(seconds) == _RECENT_TIMES and statistics.median(seconds) < task.fastest_seconds:
        return "speed"
    places = [_place(order, answer) for order, answer in answers]
    same = len(places) == _SAME_SIDE and len(set(places)) == 1 and places[0] is not None
    return "side" if same else ""


def _place(order: Sequence[int], answer: Answer) -> int | None:
    """Where the chosen one of two responses was shown; -1 for a tie, None for other tasks."""
    match answer.verdicts[0]:
        case Choice(chosen=chosen):
            return order.index(chosen)
        case Tie():
            return -1
        case _:
            return None


def check_results(connection: Connection, project: int, person: int) -> list[bool]:
    """Whether a person agreed with the known answers, newest first."""
    rows = connection.execute(
        select(AssignmentRow.order, AssignmentRow.answer, ItemRow.expected)
        .join(
            ItemRow,
            (ItemRow.project_id == AssignmentRow.project_id)
            & (ItemRow.position == AssignmentRow.item),
        )
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
            AssignmentRow.purpose.in_(CHECKS),
            AssignmentRow.state == "answered",
        )
        .order_by(AssignmentRow.number.desc())
        .limit(100)
    )
    return [
        agrees(
            Answer.model_validate(answer),
            Answer.model_validate(expected),
            tuple(sorted(order)),
        )
        for order, answer, expected in rows
    ]


def recent_answers(
    connection: Connection, project: int, person: int, limit: int
) -> list[tuple[list[int], Answer]]:
    """(order shown, answer) of a person's last answers, newest first."""
    rows = connection.execute(
        select(AssignmentRow.order, AssignmentRow.answer)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
            AssignmentRow.state == "answered",
        )
        .order_by(AssignmentRow.number.desc())
        .limit(limit)
    )
    return [(order, Answer.model_validate(answer)) for order, answer in rows]


def set_state(
    connection: Connection, member: Row[MemberRow], state: str, reason: str, *, now: float
) -> None:
    """Make a member active or paused, and note why."""
    connection.execute(
        update(MemberRow)
        .where(MemberRow.project_id == member.project_id, MemberRow.person_id == member.person_id)
        .values(state=state, reason=reason)
    )
    audit(
        connection,
        state,
        at=now,
        project=member.project_id,
        person=member.person_id,
        detail={"reason": reason},
    )
