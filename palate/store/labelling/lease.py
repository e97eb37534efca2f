"""Giving items to people: a lease on the next question, atomically, for a limited time."""

import random
import secrets
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, insert, select, update

from palate.maths.seeds import seed
from palate.records import Answer, LabelTask
from palate.store.labelling.accounts import REMOVED
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import balanced_order, enqueue, task_of
from palate.store.schema import AssignmentRow, ItemRow, MemberRow

CHECKS = ("gold", "attention")
"""The purposes of items whose answer is known."""
_REPEAT_AFTER = 10
"""How many questions lie between one and its repetition, at least."""


def claim(connection: Connection, project: int, person: int, *, now: float) -> str | None:
    """The id of the person's open assignment, else of a new one; None when nothing is left.

    An open lease starts its time again. Leases of other people that have ended are given back.
    """
    member = member_of(connection, project, person)
    if member.state == "paused":
        raise Refused("paused")
    task = task_of(connection, project)
    release_expired(connection, project, task, now=now)
    mine = (AssignmentRow.project_id == project, AssignmentRow.person_id == person)
    held = connection.scalar(
        select(AssignmentRow.id)
        .where(*mine, AssignmentRow.state == "open")
        .order_by(AssignmentRow.number)
        .limit(1)
    )
    if held is not None:
        renewed = update(AssignmentRow).where(AssignmentRow.id == held)
        connection.execute(renewed.values(expires_at=now + 60 * task.lease_minutes))
        return held
    chosen = _next_item(connection, task, member)
    if chosen is None:
        return None
    item, purpose = chosen
    return hold(connection, task, member, item, purpose=purpose, now=now)


def claim_ahead(
    connection: Connection, project: int, person: int, held: str, *, now: float
) -> str | None:
    """The id of what the person is asked after `held`: one more lease, however often it is asked.

    None while `held` is not the person's first open assignment, and when nothing is left.
    """
    member = member_of(connection, project, person)
    mine = (AssignmentRow.project_id == project, AssignmentRow.person_id == person)
    first = select(AssignmentRow.id).where(*mine, AssignmentRow.state == "open")
    open_ = connection.scalars(first.order_by(AssignmentRow.number).limit(2)).all()
    if member.state != "active" or not open_ or open_[0] != held:
        return None
    if len(open_) == 2:
        return open_[1]
    task = task_of(connection, project)
    chosen = _next_item(connection, task, member)
    if chosen is None:
        return None
    item, purpose = chosen
    return hold(connection, task, member, item, purpose=purpose, now=now)


def member_of(connection: Connection, project: int, person: int) -> Row[MemberRow]:
    """Somebody's membership, locked until the transaction ends."""
    row = member_if_any(connection, project, person)
    if row is None:
        raise Refused("no_member")
    return row


def member_if_any(connection: Connection, project: int, person: int) -> Row[MemberRow] | None:
    """The same; None for those who were never members or were removed."""
    return connection.execute(
        select(MemberRow)
        .where(
            MemberRow.project_id == project,
            MemberRow.person_id == person,
            MemberRow.state != REMOVED,
        )
        .with_for_update(key_share=True)
    ).one_or_none()


def release_expired(connection: Connection, project: int, task: LabelTask, *, now: float) -> None:
    """End the leases whose time is over and give their items back."""
    ended = connection.execute(
        select(AssignmentRow.id, AssignmentRow.item, AssignmentRow.purpose)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.state == "open",
            AssignmentRow.expires_at <= now,
        )
        .order_by(AssignmentRow.item)  # who locks items in one order does not wait in a circle
        .limit(200)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    _give_back(connection, project, task, ended)


def release_all(connection: Connection, project: int, person: int) -> None:
    """End all leases of a member, who is locked, and give their items back."""
    task = task_of(connection, project)
    held = connection.execute(
        select(AssignmentRow.id, AssignmentRow.item, AssignmentRow.purpose)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
            AssignmentRow.state == "open",
        )
        .order_by(AssignmentRow.item)
        .with_for_update(key_share=True)
    ).all()
    _give_back(connection, project, task, held)


def _give_back(
    connection: Connection, project: int, task: LabelTask, ended: Sequence[Row[str, int, str]]
) -> None:
    for id, item, purpose in ended:
        gone = update(AssignmentRow).where(AssignmentRow.id == id)
        connection.execute(gone.values(state="expired"))
        if purpose == "ordinary":
            count_item(connection, project, item, task, taken=-1)


def count_item(
    connection: Connection,
    project: int,
    item: int,
    task: LabelTask,
    *,
    taken: int = 0,
    answered: int = 0,
) -> None:
    """Change how many hold or have answered an item, and whether it is open."""
    connection.execute(
        update(ItemRow)
        .where(ItemRow.project_id == project, ItemRow.position == item)
        .values(
            taken=ItemRow.taken + taken,
            answered=ItemRow.answered + answered,
            open=ItemRow.taken + taken < task.overlap,
        )
    )


def _next_item(
    connection: Connection, task: LabelTask, member: Row[MemberRow]
) -> tuple[Row[ItemRow], str] | None:
    """The next item of a member and why it is asked."""
    number = member.served + 1
    checked = member.state == "qualifying" or _due(task.gold_every, number, "gold", member)
    if checked and (item := _check(connection, member)):
        return item, item.purpose
    if _due(task.repeat_every, number, "repeat", member) and (item := _repeat(connection, member)):
        return item, "repeat"
    item = _ordinary(connection, member)
    return None if item is None else (item, "ordinary")


def _due(every: int, number: int, name: str, member: Row[MemberRow]) -> bool:
    """Once in every so many questions, at a place that nobody can foresee."""
    if not every:
        return False
    block, place = divmod(number, every)
    names = (name, block, member.project_id, member.person_id)
    return random.Random(seed(0, *names)).randrange(every) == place


def _mine(member: Row[MemberRow], states: Sequence[str] = ()) -> ColumnElement[bool]:
    own = and_(
        AssignmentRow.project_id == member.project_id,
        AssignmentRow.person_id == member.person_id,
        AssignmentRow.item == ItemRow.position,
    )
    return and_(own, AssignmentRow.state.in_(states)) if states else own


def _check(connection: Connection, member: Row[MemberRow]) -> Row[ItemRow] | None:
    seen = exists(select(AssignmentRow.id).where(_mine(member)))
    query = (
        select(ItemRow)
        .where(ItemRow.project_id == member.project_id, ItemRow.purpose.in_(CHECKS), ~seen)
        .order_by(ItemRow.position)
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _repeat(connection: Connection, member: Row[MemberRow]) -> Row[ItemRow] | None:
    again = select(AssignmentRow.id).where(_mine(member), AssignmentRow.purpose == "repeat")
    query = (
        select(ItemRow)
        .join(AssignmentRow, _mine(member, ("answered",)))
        .where(
            ItemRow.project_id == member.project_id,
            AssignmentRow.purpose == "ordinary",
            AssignmentRow.number <= member.served - _REPEAT_AFTER,
            ~exists(again.correlate(ItemRow)),
        )
        .order_by(AssignmentRow.number.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _ordinary(connection: Connection, member: Row[MemberRow]) -> Row[ItemRow] | None:
    """What was put in front of the queue; else the first open item after the member's cursor that
    they have not dealt with. At the end of the queue items are made from new groups, and then those
    that were given back are looked for."""
    front = _unlocked(connection, member, ItemRow.position <= 0)
    if front is not None:
        return front
    own = and_(MemberRow.project_id == member.project_id, MemberRow.person_id == member.person_id)
    for after in (member.cursor, 0):
        grown = 1
        while grown:
            item = _unlocked(connection, member, ItemRow.position > after)
            if item is not None:
                connection.execute(update(MemberRow).where(own).values(cursor=item.position))
                return item
            grown = enqueue(connection, member.project_id)
    return None


def _unlocked(
    connection: Connection, member: Row[MemberRow], where: ColumnElement[bool]
) -> Row[ItemRow] | None:
    """The first open item that nobody else is taking; where all are being taken, wait for those
    to see what is left."""
    query = _open_items(member, where)
    item = connection.execute(query.with_for_update(skip_locked=True, key_share=True)).one_or_none()
    while item is None and connection.execute(query).one_or_none() is not None:
        item = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    return item


def _open_items(member: Row[MemberRow], where: ColumnElement[bool]) -> Select[ItemRow]:
    states = ("open", "answered", "skipped", "later")
    dealt_with = select(AssignmentRow.id).where(_mine(member, states))
    return (
        select(ItemRow)
        .where(
            ItemRow.project_id == member.project_id,
            ItemRow.purpose == "ordinary",
            ItemRow.open,
            where,
            ~exists(dealt_with),
        )
        .order_by(ItemRow.position)
        .limit(1)
    )


def hold(
    connection: Connection,
    task: LabelTask,
    member: Row[MemberRow],
    item: Row[ItemRow],
    *,
    purpose: str,
    now: float,
) -> str:
    """Give an item to a member, who is locked, and give the assignment's id."""
    number = member.served + 1
    names = ("project", member.project_id, "person", member.person_id)
    values = {
        "number": number,
        "order": list(balanced_order(item.shown, number, *names)),
        "state": "open",
        "created_at": now,
        "expires_at": now + 60 * task.lease_minutes,
    }
    before = connection.execute(
        select(
            AssignmentRow.id, AssignmentRow.revision, AssignmentRow.order, AssignmentRow.draft
        ).where(
            AssignmentRow.project_id == member.project_id,
            AssignmentRow.person_id == member.person_id,
            AssignmentRow.item == item.position,
            AssignmentRow.purpose == purpose,
        )
    ).one_or_none()
    if before is None:
        id = secrets.token_hex(16)
        new = {
            "id": id,
            "project_id": member.project_id,
            "person_id": member.person_id,
            "item": item.position,
            "purpose": purpose,
            "revision": 0,
            "best": "",
        }
        connection.execute(insert(AssignmentRow).values(new | values))
    else:
        id = before.id
        values["revision"] = before.revision + 1
        if before.draft:  # it speaks of the places at which responses were shown
            values["order"] = before.order
        connection.execute(update(AssignmentRow).where(AssignmentRow.id == id).values(values))
    own = and_(MemberRow.project_id == member.project_id, MemberRow.person_id == member.person_id)
    connection.execute(update(MemberRow).where(own).values(served=number))
    if purpose == "ordinary":
        count_item(connection, member.project_id, item.position, task, taken=1)
    return id


def note_decision(
    connection: Connection,
    project: int,
    person: int,
    item: int,
    *,
    order: Sequence[int],
    answer: Answer,
    now: float,
) -> None:
    """Keep what a reviewer decided about an item; no lease was needed for it."""
    member_of(connection, project, person)
    connection.execute(
        insert(AssignmentRow).values(
            id=secrets.token_hex(16),
            project_id=project,
            person_id=person,
            item=item,
            purpose="adjudication",
            number=0,
            revision=0,
            order=list(order),
            state="answered",
            created_at=now,
            expires_at=now,
            answered_at=now,
            answer=answer.model_dump(mode="json"),
            best="",
        )
    )
