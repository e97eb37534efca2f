"""What happened in a project, from its audit, summed up per day, person and kind of event."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Connection, select

from palate.store.schema import AuditRow, PersonRow

_NEWEST = 5000
"""Rows of the audit that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What somebody (nobody: "") did `number` times on one day (UTC), last at `at`, about whom.

    `word` is the role, or the reason, or the name that was given.
    """

    at: float
    who: str
    action: str
    about: str
    word: str
    number: int


def events(connection: Connection, project: int, *, limit: int) -> list[Event]:
    """The newest events."""
    rows = connection.execute(
        select(AuditRow.at, PersonRow.name, AuditRow.action, AuditRow.detail)
        .outerjoin(PersonRow, PersonRow.id == AuditRow.person_id)
        .where(AuditRow.project_id == project)
        .order_by(AuditRow.id.desc())
        .limit(_NEWEST)
    ).all()
    people = {id for row in rows if isinstance(id := row.detail.get("for"), int)}
    named = select(PersonRow.id, PersonRow.name).where(PersonRow.id.in_(people))
    names: dict[object, str] = {row.id: row.name for row in connection.execute(named)}
    found: dict[tuple[date, str, str, str, str], tuple[float, int]] = {}
    for at, who, action, detail in rows:
        about = names.get(detail.get("for"), "")
        word = next((str(detail[key]) for key in ("role", "reason", "name") if key in detail), "")
        key = (datetime.fromtimestamp(at, UTC).date(), who or "", action, about, word)
        newest, number = found.get(key, (at, 0))
        found[key] = (newest, number + 1)
    return [
        Event(at=at, who=who, action=action, about=about, word=word, number=number)
        for (_, who, action, about, word), (at, number) in found.items()
    ][:limit]
