"""Which questions can be asked next, and which arm asked them: events, like answers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Row, Select, exists, func, or_, select, update

from palate.records import Answer, Arm, Group, Judgement, LabelTask
from palate.store import queries
from palate.store.labelling.desk import audit
from palate.store.labelling.items import add_items, next_position, shown_together
from palate.store.pseudonyms import BY_OWNER, BY_PERSON
from palate.store.schema import (
    AssignmentRow,
    AuditRow,
    GroupRow,
    ItemRow,
    JudgementRow,
    ResponseRow,
    TaskRow,
)

WINDOW = 1000
"""Groups that are looked at: the newest that have questions left."""
_ASK = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A question that can be asked: for the first time, or again (`item`) about answers so far."""

    group: Group
    judgements: tuple[Judgement, ...]
    shown: tuple[int, ...]
    item: int | None


def candidates(connection: Connection, project: int, task: LabelTask) -> list[Candidate]:
    """The questions of the newest groups: new ones first, then those that were answered."""
    last = queries.last_position(connection, GroupRow, project)
    to = connection.scalar(_newest_unasked(project)) or last
    judged = queries.judged_page(connection, project, to - WINDOW, to)
    items = _items(connection, project, [group.id for group, _ in judged])
    new = [
        Candidate(group=group, judgements=said, shown=shown, item=None)
        for group, said in judged
        if group.id not in items
        for shown in shown_together(task, group.id, [r.policy for r in group.responses])
    ]
    again = [
        Candidate(group=group, judgements=said, shown=tuple(item.shown), item=item.position)
        for group, said in judged
        for item in items.get(group.id, ())
        if item.answered == task.overlap and not item.open
    ]
    return [*new, *again]


def _newest_unasked(project: int) -> Select[int]:
    of_it = (ResponseRow.project_id == project, ResponseRow.group_id == GroupRow.id)
    by_people = or_(*map(ResponseRow.policy.startswith, (BY_PERSON, BY_OWNER)))
    return select(func.max(GroupRow.position)).where(
        GroupRow.project_id == project,
        ~exists(
            select(ItemRow.position).where(
                ItemRow.project_id == project,
                ItemRow.group_id == GroupRow.id,
                ItemRow.purpose == "ordinary",
            )
        ),
        exists(select(ResponseRow.index).where(*of_it, ResponseRow.index == 1)),
        ~exists(select(ResponseRow.index).where(*of_it, by_people)),
    )


def _items(
    connection: Connection, project: int, groups: Sequence[str]
) -> dict[str, list[Row[ItemRow]]]:
    found: dict[str, list[Row[ItemRow]]] = defaultdict(list)
    about = (ItemRow.group_id.in_(groups), ItemRow.purpose == "ordinary")
    for row in connection.execute(select(ItemRow).where(ItemRow.project_id == project, *about)):
        found[row.group_id].append(row)
    return found


def ask(
    connection: Connection, project: int, chosen: Sequence[tuple[Candidate, Arm]], *, now: float
) -> int:
    """Put questions into the queue, in this order, and count those that nobody had put there."""
    row = connection.execute(
        select(TaskRow).where(TaskRow.project_id == project).with_for_update(key_share=True)
    ).one()
    known = _items(connection, project, [c.group.id for c, _ in chosen if c.item is None])
    new = [(c, arm) for c, arm in chosen if c.item is None and c.group.id not in known]
    again = [(c.item, arm) for c, arm in chosen if c.item is not None]
    first = next_position(connection, project)
    add_items(connection, project, [(c.group.id, c.shown) for c, _ in new])
    reopened = ItemRow.position.in_([item for item, _ in again])
    connection.execute(
        update(ItemRow).where(ItemRow.project_id == project, reopened).values(open=True)
    )
    places = [*((place, arm) for place, (_, arm) in enumerate(new, first)), *again]
    for arm in dict.fromkeys(arm for _, arm in places):
        items = [place for place, own in places if own == arm]
        audit(connection, _ASK, at=now, project=project, detail={"arm": arm, "items": items})
    enqueued = row.enqueued + len({c.group.id for c, _ in new})
    last = queries.last_position(connection, GroupRow, project)
    values = {"items": row.items + len(new), "enqueued": min(enqueued, last)}
    connection.execute(update(TaskRow).where(TaskRow.project_id == project).values(values))
    return len(places)


def finish_queue(connection: Connection, project: int) -> None:
    """Note that no group has questions left, for the count of what remains."""
    last = queries.last_position(connection, GroupRow, project)
    connection.execute(update(TaskRow).where(TaskRow.project_id == project).values(enqueued=last))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAnswer:
    """An answer to a question that an arm picked, and the scores that models gave its group."""

    arm: Arm
    prompt: str
    shown: tuple[int, ...]
    answer: Answer
    scores: tuple[Judgement, ...]


def arm_answers(connection: Connection, project: int, *, limit: int) -> list[ArmAnswer]:
    """The newest answers to questions that arms picked; the last arm before an answer asked it."""
    asked = defaultdict[int, list[tuple[float, Arm]]](list)
    events = select(AuditRow.at, AuditRow.detail).where(
        AuditRow.project_id == project, AuditRow.action == _ASK
    )
    for at, detail in connection.execute(events.order_by(AuditRow.id)):
        for item in cast("list[int]", detail["items"]):
            asked[item].append((at, cast(Arm, detail["arm"])))
    rows = connection.execute(
        select(AssignmentRow, GroupRow.id.label("group_id"), GroupRow.prompt_key)
        .join(
            ItemRow,
            (ItemRow.project_id == AssignmentRow.project_id)
            & (ItemRow.position == AssignmentRow.item),
        )
        .join(GroupRow, (GroupRow.project_id == project) & (GroupRow.id == ItemRow.group_id))
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.purpose == "ordinary",
            AssignmentRow.state == "answered",
        )
        .order_by(AssignmentRow.answered_at.desc())
        .limit(limit)
    ).all()
    scores = _scores(connection, project, [row.group_id for row in rows])
    return [
        ArmAnswer(
            arm=before[-1],
            prompt=row.prompt_key,
            shown=tuple(sorted(row.order)),
            answer=Answer.model_validate(row.answer),
            scores=tuple(scores[row.group_id]),
        )
        for row in rows
        if (before := _before(asked[row.item], row.created_at))
    ]


def _before(events: Sequence[tuple[float, Arm]], time: float) -> list[Arm]:
    return [arm for at, arm in events if at <= time]


def _scores(
    connection: Connection, project: int, groups: Sequence[str]
) -> dict[str, list[Judgement]]:
    found: dict[str, list[Judgement]] = defaultdict(list)
    rows = connection.execute(
        select(JudgementRow.group_id, JudgementRow.body)
        .where(JudgementRow.project_id == project, JudgementRow.kind == "scores")
        .where(JudgementRow.group_id.in_(groups))
        .order_by(JudgementRow.position)
    )
    for group, body in rows:
        found[group].append(Judgement.model_validate(body))
    return found
