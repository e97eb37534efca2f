"""What reviewers do: see where people disagree, decide, and turn decisions into checks."""

import itertools
import statistics
from dataclasses import dataclass

from sqlalchemy import Connection, Select, func, select, update

from palate.records import Answer, Group, Judgement, JudgementId, Skip
from palate.store import queries
from palate.store.labelling.answers import EVENTS, judge_name
from palate.store.labelling.assignments import Assignment, check_shape, is_decided
from palate.store.labelling.checks import recent_answers
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import add_items, group_of, project_name, task_of
from palate.store.labelling.lease import CHECKS, note_decision
from palate.store.schema import AssignmentRow, GroupRow, ItemRow, JudgementRow, MemberRow, TaskRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a project is, and one member of it; `seconds_each` is the median of the member's
    last answers (0 before there are any)."""

    answered: int
    wanted: int
    mine: int
    remaining: int
    seconds_each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An item that its annotators answered differently; it may be `open` for one more answer."""

    item: int
    group: Group
    shown: tuple[int, ...]
    answers: tuple[tuple[str, Answer], ...]
    open: bool


def progress(connection: Connection, project: int, person: int | None) -> Progress:
    """Progress without counting rows."""
    task = task_of(connection, project)
    row = connection.execute(select(TaskRow).where(TaskRow.project_id == project)).one_or_none()
    enqueued, items, answered = (row.enqueued, row.items, row.answered) if row else (0, 0, 0)
    waiting = queries.last_position(connection, GroupRow, project) - enqueued
    each = items / enqueued if enqueued else 1.0
    questions = items + round(waiting * each)
    mine, seconds = 0, 0.0
    if person is not None:
        mine = _answered(connection, project, person)
        recent = [a.seconds for _, a in recent_answers(connection, project, person, 20)]
        seconds = statistics.median(recent) if recent else 0.0
    wanted = questions * task.overlap
    remaining = max(0, min(wanted - answered, questions - mine))
    return Progress(
        answered=answered, wanted=wanted, mine=mine, remaining=remaining, seconds_each=seconds
    )


def _answered(connection: Connection, project: int, person: int) -> int:
    own = (MemberRow.project_id == project, MemberRow.person_id == person)
    return connection.scalar(select(MemberRow.answered).where(*own)) or 0


def decided(project: int) -> Select[int]:
    """The items that a reviewer has decided."""
    return select(AssignmentRow.item).where(
        AssignmentRow.project_id == project, AssignmentRow.purpose == "adjudication"
    )


def disputed(project: int) -> Select[int]:
    """The items of which different responses were preferred and that nobody has decided."""
    return (
        select(AssignmentRow.item)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.state == "answered",
            AssignmentRow.purpose == "ordinary",
            AssignmentRow.item.not_in(decided(project)),
        )
        .group_by(AssignmentRow.item)
        .having(func.count(AssignmentRow.best.distinct()) > 1)
    )


def disagreements(connection: Connection, project: int, *, limit: int) -> list[Disagreement]:
    """Items of which different responses were preferred and that nobody has decided, oldest
    first."""
    oldest = disputed(project).order_by(AssignmentRow.item).limit(limit)
    found = connection.execute(
        select(ItemRow)
        .where(ItemRow.project_id == project, ItemRow.position.in_(oldest))
        .order_by(ItemRow.position)
    ).all()
    return [
        Disagreement(
            item=item.position,
            group=group_of(connection, project, item.group_id),
            shown=tuple(item.shown),
            answers=item_answers(connection, project, item.position),
            open=item.open,
        )
        for item in found
    ]


def item_answers(connection: Connection, project: int, item: int) -> tuple[tuple[str, Answer], ...]:
    """(pseudonym, answer) of an item: reviewers see what was said, not who said it."""
    rows = connection.execute(
        select(AssignmentRow.answer)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.item == item,
            AssignmentRow.state == "answered",
            AssignmentRow.purpose == "ordinary",
        )
        .order_by(AssignmentRow.id)
    )
    return tuple(
        (f"#{number}", Answer.model_validate(body)) for number, body in enumerate(rows.scalars(), 1)
    )


def question(connection: Connection, project: int, item: int, *, now: float) -> Assignment:
    """An item as a reviewer decides it: in the stored order, without a lease."""
    row = connection.execute(
        select(ItemRow).where(ItemRow.project_id == project, ItemRow.position == item)
    ).one_or_none()
    if row is None:
        raise Refused("no_item")
    return Assignment(
        id=f"item{item}",
        project=project,
        item=item,
        purpose=row.purpose,
        number=0,
        revision=0,
        state="open",
        order=tuple(row.shown),
        created_at=now,
        expires_at=now,
        draft={},
        group=group_of(connection, project, row.group_id),
        task=task_of(connection, project),
        expected=None,
    )


def adjudicate(
    connection: Connection, project: int, person: int, item: int, answer: Answer, *, now: float
) -> None:
    """A reviewer's decision replaces what was said about the item; all of it stays on record."""
    asked = question(connection, project, item, now=now)
    if asked.purpose in CHECKS:
        raise Refused("is_check")
    if is_decided(connection, project, item):
        raise Refused("is_decided")
    check_shape(answer, asked)
    judge = judge_name(connection, person)
    name = project_name(connection, project)
    pairs = itertools.zip_longest(answer.verdicts, _standing(connection, project, item))
    for number, (verdict, old) in enumerate(pairs):
        judgement = Judgement(
            group_id=asked.group.id,
            judge=judge,
            verdict=verdict or Skip(reason="adjudicated"),
            order=asked.order,
            seconds=answer.seconds,
            supersedes=old,
            reasons=answer.reasons,
            note=answer.note,
        )
        keys = {judgement.id: f"item{item}:{now}:{number}"}
        queries.insert_judgements(connection, name, [judgement], client_keys=keys)
    note_decision(connection, project, person, item, order=asked.order, answer=answer, now=now)
    own = (ItemRow.project_id == project, ItemRow.position == item)
    connection.execute(update(ItemRow).where(*own).values(open=False))
    audit(connection, "adjudicate", at=now, project=project, person=person, detail={"item": item})


def _standing(connection: Connection, project: int, item: int) -> list[JudgementId]:
    """The judgements that people made about an item and that nothing has superseded."""
    rows = connection.execute(
        select(AssignmentRow.id, AssignmentRow.revision).where(
            AssignmentRow.project_id == project,
            AssignmentRow.item == item,
            AssignmentRow.purpose == "ordinary",
            AssignmentRow.state == "answered",
        )
    )
    keys = [f"{id}:{revision}:{number}" for id, revision in rows for number in range(EVENTS)]
    found = connection.execute(
        select(JudgementRow.id, JudgementRow.group_id)
        .where(JudgementRow.project_id == project, JudgementRow.client_key.in_(keys))
        .order_by(JudgementRow.position)
    ).all()
    about = select(ItemRow.group_id).where(ItemRow.project_id == project, ItemRow.position == item)
    group = connection.scalars(about).one()
    return [JudgementId(id) for id, group_id in found if group_id == group]


def make_check(
    connection: Connection, project: int, person: int, item: int, answer: Answer, *, now: float
) -> None:
    """Ask everybody about an item again, as a check with a known answer."""
    asked = question(connection, project, item, now=now)
    check_shape(answer, asked)
    questions = [(asked.group.id, asked.shown)]
    add_items(connection, project, questions, purpose="gold", expected=answer)
    audit(connection, "gold", at=now, project=project, person=person, detail={"item": item})


def add_attention(
    connection: Connection, project: int, person: int, group: Group, answer: Answer, *, now: float
) -> None:
    """Add an item that an owner wrote, and its obvious answer."""
    queries.insert_groups(connection, project_name(connection, project), [group])
    questions = [(group.id, tuple(range(group.k)))]
    add_items(connection, project, questions, purpose="attention", expected=answer)
    audit(connection, "attention", at=now, project=project, person=person)


def checks(connection: Connection, project: int) -> int:
    """How many checks a project has."""
    number = select(func.count()).where(ItemRow.project_id == project, ItemRow.purpose.in_(CHECKS))
    return connection.scalars(number).one()
