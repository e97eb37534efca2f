"""What people tell the owners about a question, until somebody has settled it."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from palate.store.labelling.assignments import assignment
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.schema import CommentRow, PersonRow

LONGEST = 2_000
"""Characters."""
_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment about a group, and by whom."""

    id: int
    name: str
    text: str
    settled: bool


def comment(
    connection: Connection, project: int, person: int, assignment_id: str, text: str, *, now: float
) -> None:
    """Tell the owners something about a question that one was given; the same twice counts once."""
    group = assignment(connection, project, person, assignment_id).group.id
    text = text.strip()[:LONGEST]
    if not text:
        raise Refused("comment_first")
    own = (CommentRow.project_id == project, CommentRow.person_id == person)
    same = select(CommentRow.id).where(*own, CommentRow.group_id == group, CommentRow.text == text)
    if connection.scalar(same.limit(1)) is not None:
        return
    values = {"project_id": project, "group_id": group, "person_id": person, "text": text}
    connection.execute(insert(CommentRow).values(values | {"at": now, "settled": False}))
    detail: dict[str, object] = {"group": group}
    audit(connection, "comment", at=now, project=project, person=person, detail=detail)


def comments(connection: Connection, project: int, group: str) -> list[Comment]:
    """What people said about a group, newest first."""
    rows = connection.execute(
        select(CommentRow, PersonRow.name)
        .join(PersonRow, PersonRow.id == CommentRow.person_id)
        .where(CommentRow.project_id == project, CommentRow.group_id == group)
        .order_by(CommentRow.id.desc())
        .limit(_SHOWN)
    )
    return [Comment(id=row.id, name=row.name, text=row.text, settled=row.settled) for row in rows]


def settle(connection: Connection, project: int, id: int, *, person: int, now: float) -> None:
    """Mark a comment as dealt with."""
    here = (CommentRow.project_id == project, CommentRow.id == id)
    found = connection.execute(update(CommentRow).where(*here).values(settled=True))
    if not found.rowcount:
        raise Refused("not_found")
    audit(connection, "settle", at=now, project=project, person=person, detail={"comment": id})
