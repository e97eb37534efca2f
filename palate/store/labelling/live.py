"""Prompts that people put to the policies of an arena, answered while they wait.

Whoever has the policies open takes the prompts from here, one at a time, and gives the responses
back; the person who asked is the first to vote on them.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, update

from palate.records import Group, Prompt, Response, user_prompt
from palate.store import queries
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import ask_first, project_name, shown_together, task_of
from palate.store.labelling.lease import hold, member_if_any, member_of
from palate.store.schema import ItemRow, LivePromptRow

LONGEST = 20_000
"""Characters of a prompt."""
_TAKEN_FOR = 120.0
"""Seconds after which a prompt that was taken and not answered is given out again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePrompt:
    """A prompt and what became of it: an assignment, a problem (a text of the catalogue), or
    neither while it waits. `asked_at` is in seconds since 1970."""

    id: str
    project: int
    person: int
    prompt: Prompt
    asked_at: float
    assignment: str
    problem: str


def put(connection: Connection, project: int, person: int, text: str, *, now: float) -> str:
    """Ask the policies of an arena something, and give the prompt's id; one at a time per person:
    while one waits, its id is given instead."""
    member = member_of(connection, project, person)
    if task_of(connection, project).compare != "policies":
        raise Refused("no_arena")
    if member.state != "active":
        raise Refused("paused" if member.state == "paused" else "not_qualified")
    waiting = connection.scalar(
        select(LivePromptRow.id).where(
            LivePromptRow.project_id == project, LivePromptRow.person_id == person, _waiting()
        )
    )
    if waiting is not None:
        return waiting
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise Refused("prompt_length")
    id = secrets.token_hex(16)
    values = {
        "id": id,
        "project_id": project,
        "person_id": person,
        "body": user_prompt(text).model_dump(mode="json"),
        "created_at": now,
        "assignment": "",
        "problem": "",
    }
    connection.execute(insert(LivePromptRow).values(values))
    audit(connection, "ask", at=now, project=project, person=person, detail={"prompt": id})
    return id


def own(connection: Connection, project: int, person: int, id: str) -> LivePrompt:
    """A person's own prompt; anybody else's is refused as if it did not exist."""
    row = connection.execute(
        select(LivePromptRow).where(
            LivePromptRow.id == id,
            LivePromptRow.project_id == project,
            LivePromptRow.person_id == person,
        )
    ).one_or_none()
    if row is None:
        raise Refused("not_found")
    return _live(row)


def waits(connection: Connection, project: int, *, now: float) -> bool:
    """Whether a prompt of the project waits to be taken."""
    found = select(LivePromptRow.id).where(_free(project, now)).limit(1)
    return connection.scalar(found) is not None


def take(connection: Connection, project: int, *, now: float) -> LivePrompt | None:
    """The prompt that has waited longest, for the caller alone to answer; None when none waits."""
    row = connection.execute(
        select(LivePromptRow)
        .where(_free(project, now))
        .order_by(LivePromptRow.created_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    ).one_or_none()
    if row is None:
        return None
    _set(connection, row.id, taken_at=now)
    return _live(row)


def release(connection: Connection, asked: LivePrompt) -> None:
    """Let somebody else answer a prompt that was taken."""
    _set(connection, asked.id, taken_at=None)


def forget(connection: Connection, project: int, person: int) -> None:
    """Answer nothing that somebody waits for."""
    mine = (LivePromptRow.project_id == project, LivePromptRow.person_id == person)
    connection.execute(delete(LivePromptRow).where(*mine, _waiting()))


def refuse_long(connection: Connection, asked: LivePrompt) -> None:
    """A prompt that is longer than a policy can read."""
    _set(connection, asked.id, problem="prompt_too_long")


def answer(
    connection: Connection, asked: LivePrompt, responses: Sequence[Response], *, now: float
) -> None:
    """Store the policies' responses as a group, as a question, and as its asker's own to vote on.

    What was answered before, by somebody who took it later, stays as it is; and nobody waits for an
    answer who has been removed.
    """
    member = member_if_any(connection, asked.project, asked.person)
    if member is None or own(connection, asked.project, asked.person, asked.id).assignment:
        return
    task = task_of(connection, asked.project)
    group = Group(prompt=asked.prompt, responses=tuple(responses))
    name = project_name(connection, asked.project)
    added = queries.insert_groups(connection, name, [group])
    shown = shown_together(task, group.id, [response.policy for response in responses])
    if not shown:
        raise ValueError("an arena's question has responses of two policies")
    position = ask_first(connection, asked.project, group.id, shown[0], added=added)
    item = connection.execute(
        select(ItemRow).where(ItemRow.project_id == asked.project, ItemRow.position == position)
    ).one()
    held = hold(connection, task, member, item, purpose="ordinary", now=now)
    _set(connection, asked.id, assignment=held)


def _waiting() -> ColumnElement[bool]:
    return and_(LivePromptRow.assignment == "", LivePromptRow.problem == "")


def _free(project: int, now: float) -> ColumnElement[bool]:
    taken = LivePromptRow.taken_at
    untaken = or_(taken.is_(None), taken < now - _TAKEN_FOR)
    return and_(LivePromptRow.project_id == project, _waiting(), untaken)


def _set(connection: Connection, id: str, **values: object) -> None:
    connection.execute(update(LivePromptRow).where(LivePromptRow.id == id).values(values))


def _live(row: Row[LivePromptRow]) -> LivePrompt:
    return LivePrompt(
        id=row.id,
        project=row.project_id,
        person=row.person_id,
        prompt=Prompt.model_validate(row.body),
        asked_at=row.created_at,
        assignment=row.assignment,
        problem=row.problem,
    )
