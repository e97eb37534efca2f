"""A person's own answers: what they said, corrections of it, and what they put off.

A correction is one more event, which supersedes what was said; nothing is changed or lost. A check
counts as it was answered first.
"""

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, and_, func, select, update

from palate.records import Answer, Group, preferred
from palate.store.labelling.answers import (
    CLOSED,
    append,
    by_client_key,
    count_member,
    count_task,
    is_skip,
    take_back,
)
from palate.store.labelling.assignments import (
    Assignment,
    assignment,
    check_shape,
    is_decided,
    own_row,
)
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import group_of, task_of
from palate.store.labelling.lease import count_item, hold, member_of
from palate.store.schema import AssignmentRow, Body, ItemRow

_CORRECTED = "corrected"
"""Where the draft of a check that was answered holds what its person would say now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAnswer:
    """What a person said about a question; `order` is how its responses were shown.

    There is no answer to a question that was put off.
    """

    id: str
    number: int
    revision: int
    group: Group
    order: tuple[int, ...]
    answer: Answer | None
    answered_at: float | None


def own_answers(
    connection: Connection, project: int, person: int, *, before: int, limit: int
) -> list[OwnAnswer]:
    """The questions that a person answered or skipped, newest first; `before` is the number of the
    last one of the page before."""
    where = and_(AssignmentRow.state.in_(CLOSED), AssignmentRow.number < before)
    return _own(connection, project, person, where, limit=limit)


def put_off(connection: Connection, project: int, person: int, *, limit: int) -> list[OwnAnswer]:
    """The questions that a person wants to come back to, newest first."""
    return _own(connection, project, person, AssignmentRow.state == "later", limit=limit)


def count_put_off(connection: Connection, project: int, person: int) -> int:
    """How many questions a person wants to come back to."""
    mine = (AssignmentRow.project_id == project, AssignmentRow.person_id == person)
    found = select(func.count()).where(*mine, AssignmentRow.state == "later")
    return connection.scalars(found).one()


def _own(
    connection: Connection, project: int, person: int, where: ColumnElement[bool], *, limit: int
) -> list[OwnAnswer]:
    rows = connection.execute(
        select(AssignmentRow, ItemRow.group_id)
        .join(
            ItemRow,
            (ItemRow.project_id == AssignmentRow.project_id)
            & (ItemRow.position == AssignmentRow.item),
        )
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
            AssignmentRow.purpose != "adjudication",
            where,
        )
        .order_by(AssignmentRow.number.desc())
        .limit(limit)
    ).all()
    return [
        OwnAnswer(
            id=row.id,
            number=row.number,
            revision=row.revision,
            group=group_of(connection, project, row.group_id),
            order=tuple(row.order),
            answer=_said(row.state, row.draft, row.answer),
            answered_at=row.answered_at,
        )
        for row in rows
    ]


def said(connection: Connection, project: int, person: int, id: str) -> tuple[Assignment, Answer]:
    """A person's own assignment and what they answered last."""
    row = own_row(connection, project, person, id)
    answer = _said(row.state, row.draft, row.answer)
    if answer is None:
        raise Refused("no_assignment")
    return assignment(connection, project, person, id), answer


def _said(state: str, draft: Body | None, answer: Body | None) -> Answer | None:
    if state not in CLOSED:
        return None
    return Answer.model_validate((draft or {}).get(_CORRECTED) or answer)


def correct(
    connection: Connection,
    project: int,
    person: int,
    id: str,
    answer: Answer,
    *,
    revision: int,
    now: float,
) -> None:
    """Say something else about a question than before; the same correction sent twice counts once.

    What a reviewer decided stays decided. The time adds up: the question took both.
    """
    if member_of(connection, project, person).state == "paused":
        raise Refused("paused")
    asked, before = said(connection, project, person, id)
    if asked.revision != revision:
        return
    if asked.task.compare == "policies":
        raise Refused("no_undo_in_arena")
    if is_decided(connection, project, asked.item):
        raise Refused("decided_meanwhile")
    check_shape(answer, asked)
    kept = {"late": before.late, "flagged": before.flagged}
    answer = answer.model_copy(update=kept | {"seconds": before.seconds + answer.seconds})
    values: dict[str, object] = {"revision": revision + 1}
    if asked.purpose == "ordinary":
        _supersede(connection, asked, person, answer, was_skipped=is_skip(before))
        values |= {
            "state": "answered",
            "answer": answer.model_dump(mode="json"),
            "best": ",".join(map(str, preferred(answer.verdicts, asked.shown))),
        }
    else:
        values["draft"] = {_CORRECTED: answer.model_dump(mode="json")}
    connection.execute(update(AssignmentRow).where(AssignmentRow.id == id).values(values))
    detail: Body = {"assignment": id, "revision": revision}
    audit(connection, "correct", at=now, project=project, person=person, detail=detail)


def _supersede(
    connection: Connection, asked: Assignment, person: int, answer: Answer, *, was_skipped: bool
) -> None:
    """New judgements in the place of the old ones; those that have no successor are taken back."""
    prefix = f"{asked.id}:{asked.revision}"
    old = by_client_key(connection, asked.project, prefix)
    following = replace(asked, revision=asked.revision + 1)
    append(connection, following, person, answer, old)
    new = by_client_key(connection, asked.project, f"{asked.id}:{following.revision}")
    alone = {number: id for number, id in old.items() if number not in new}
    take_back(connection, asked.project, person, alone, prefix=prefix)
    if was_skipped:
        count_item(connection, asked.project, asked.item, asked.task, taken=1, answered=1)
        count_task(connection, asked.project, 1)
        count_member(connection, asked.project, person, 1)


def set_aside(
    connection: Connection,
    project: int,
    person: int,
    id: str,
    draft: Body,
    *,
    revision: int,
    now: float,
) -> None:
    """Put a question off with what is filled in so far; meanwhile others may be asked it."""
    if member_of(connection, project, person).state == "qualifying":
        raise Refused("not_qualified")
    row = own_row(connection, project, person, id)
    if row.state not in ("open", "expired") or row.revision != revision:
        return
    if row.state == "open" and row.purpose == "ordinary":
        count_item(connection, project, row.item, task_of(connection, project), taken=-1)
    gone = update(AssignmentRow).where(AssignmentRow.id == id)
    connection.execute(gone.values(state="later", draft=draft))
    audit(connection, "put off", at=now, project=project, person=person, detail={"assignment": id})


def come_back(connection: Connection, project: int, person: int, id: str, *, now: float) -> bool:
    """Take up a question that was put off; False if others have answered it meanwhile."""
    member = member_of(connection, project, person)
    if member.state == "paused":
        raise Refused("paused")
    row = own_row(connection, project, person, id)
    if row.state != "later":
        return row.state == "open"
    item = connection.execute(
        select(ItemRow)
        .where(ItemRow.project_id == project, ItemRow.position == row.item)
        .with_for_update(key_share=True)
    ).one()
    if row.purpose == "ordinary" and not item.open:
        gone = update(AssignmentRow).where(AssignmentRow.id == id)
        connection.execute(gone.values(state="expired", draft=None))
        return False
    task = task_of(connection, project)
    hold(connection, task, member, item, purpose=row.purpose, now=now)
    return True
