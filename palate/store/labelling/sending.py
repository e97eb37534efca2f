"""Putting a question in front of the queue: one that is new, or one more answer to an old one."""

from sqlalchemy import Connection, Row, exists, select, update

from palate.records import Group, LabelTask
from palate.store import queries
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import add_in_front, project_name, save_task, task_of
from palate.store.schema import AssignmentRow, Body, GroupRow, ItemRow, MemberRow, TaskRow


def send(
    connection: Connection, project: int, person: int, group: Group, *, source: Body, now: float
) -> bool:
    """Ask about a group before all others; False if it is there and people are asked anyway.

    `source` says in the audit where the group comes from.
    """
    added = queries.insert_groups(connection, project_name(connection, project), [group])
    row = _counts(connection, project)
    ordinary = (ItemRow.project_id == project, ItemRow.purpose == "ordinary")
    if connection.scalar(select(exists().where(*ordinary, ItemRow.group_id == group.id))):
        return False
    item = add_in_front(connection, project, group.id, tuple(range(group.k)))
    last = queries.last_position(connection, GroupRow, project)
    reached = row.enqueued >= last - added  # else the group is passed when its turn comes
    asked = 1 if LabelTask.model_validate(row.body).arms else added * reached
    values = {"items": row.items + 1, "enqueued": min(row.enqueued + asked, last)}
    connection.execute(update(TaskRow).where(TaskRow.project_id == project).values(values))
    detail = {"item": item, "group": group.id} | source
    audit(connection, "send", at=now, project=project, person=person, detail=detail)
    return True


def _counts(connection: Connection, project: int) -> Row[TaskRow]:
    own = select(TaskRow).where(TaskRow.project_id == project).with_for_update(key_share=True)
    row = connection.execute(own).one_or_none()
    if row is None:
        save_task(connection, project, task_of(connection, project))
        row = connection.execute(own).one()
    return row


def ask_again(connection: Connection, project: int, person: int, item: int, *, now: float) -> None:
    """One more answer to a question, from whoever comes next and has not answered it."""
    about = (AssignmentRow.project_id == project, AssignmentRow.item == item)
    if connection.scalar(select(exists().where(*about, AssignmentRow.purpose == "adjudication"))):
        raise Refused("is_decided")
    members = (MemberRow.project_id == project, MemberRow.cursor >= item)
    locked = select(MemberRow.person_id).where(*members).order_by(MemberRow.person_id)
    connection.execute(locked.with_for_update(key_share=True)).all()  # in one order: no circle
    connection.execute(update(MemberRow).where(*members).values(cursor=max(0, item - 1)))
    found = connection.execute(
        update(ItemRow)
        .where(
            ItemRow.project_id == project, ItemRow.position == item, ItemRow.purpose == "ordinary"
        )
        .values(open=True)
    )
    if not found.rowcount:
        raise Refused("no_item")
    audit(connection, "ask again", at=now, project=project, person=person, detail={"item": item})
