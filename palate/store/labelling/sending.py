"""Putting a question in front of the queue: one that is new, or one more answer to an old one."""

from sqlalchemy import Connection, exists, select, update

from palate.records import Group
from palate.store import queries
from palate.store.labelling.assignments import is_decided
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import ask_first, ensure_task, project_name
from palate.store.schema import Body, ItemRow, MemberRow


def send(
    connection: Connection, project: int, person: int, group: Group, *, source: Body, now: float
) -> bool:
    """Ask about a group before all others; False if it is there and people are asked anyway.

    `source` says in the audit where the group comes from.
    """
    added = queries.insert_groups(connection, project_name(connection, project), [group])
    ensure_task(connection, project)
    ordinary = (ItemRow.project_id == project, ItemRow.purpose == "ordinary")
    if connection.scalar(select(exists().where(*ordinary, ItemRow.group_id == group.id))):
        return False
    item = ask_first(connection, project, group.id, tuple(range(group.k)), added=added)
    detail = {"item": item, "group": group.id} | source
    audit(connection, "send", at=now, project=project, person=person, detail=detail)
    return True


def ask_again(connection: Connection, project: int, person: int, item: int, *, now: float) -> None:
    """One more answer to a question, from whoever comes next and has not answered it."""
    if is_decided(connection, project, item):
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
