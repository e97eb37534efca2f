"""The store's queries, each inside the transaction of its caller.

Positions number a project's groups, and its judgements, from 1 in the order in which they were
added. A page is what stands at the positions after < position <= to.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from palate.records import Group, GroupId, Judgement, JudgementId, Prompt, Response, content_id
from palate.store.errors import DataError
from palate.store.schema import GroupRow, JudgementRow, ProjectRow, PromptRow, ResponseRow


def project_id(connection: Connection, name: str) -> int:
    """The id of a project that has to be there."""
    id = connection.scalar(select(ProjectRow.id).where(ProjectRow.name == name))
    if id is not None:
        return id
    names = ", ".join(connection.scalars(select(ProjectRow.name).order_by(ProjectRow.name)))
    raise DataError(
        f"there is no project '{name}'", source="the database", remedy=f"known are: {names or '-'}"
    )


def open_project(connection: Connection, name: str) -> int:
    """The id of a project, made if missing and locked until the transaction ends.

    Positions are given out under this lock, which leaves rows that refer to the project alone;
    SQLite's write lock is held anyway.
    """
    locked = select(ProjectRow.id).where(ProjectRow.name == name).with_for_update(key_share=True)
    id = connection.scalar(locked)
    if id is None:
        with suppress(IntegrityError), connection.begin_nested():  # somebody else may be faster
            connection.execute(insert(ProjectRow).values(name=name))
        id = connection.execute(locked).scalar_one()
    return id


def last_position(
    connection: Connection, table: type[GroupRow] | type[JudgementRow], project: int
) -> int:
    """The position of the last row of a project; 0 where there is none."""
    last = select(func.max(table.position)).where(table.project_id == project)
    return connection.scalar(last) or 0


def reached(connection: Connection) -> list[tuple[int, str, int]]:
    """(id, name, position of the last judgement) of every project."""
    projects = connection.execute(select(ProjectRow.id, ProjectRow.name)).all()
    return [(id, name, last_position(connection, JudgementRow, id)) for id, name in projects]


def insert_groups(connection: Connection, name: str, groups: Sequence[Group]) -> int:
    """Insert the groups that are not there and count them."""
    project = open_project(connection, name)
    by_id = {group.id: group for group in groups}
    ids = select(GroupRow.id).where(GroupRow.project_id == project, GroupRow.id.in_(by_id))
    there = set(connection.scalars(ids))
    new = [(content_id(g.prompt), g) for id, g in by_id.items() if id not in there]
    if not new:
        return 0
    _insert_prompts(connection, project, {key: group.prompt for key, group in new})
    first = last_position(connection, GroupRow, project) + 1
    rows = [
        {"project_id": project, "id": group.id, "prompt_key": key, "position": position}
        for position, (key, group) in enumerate(new, first)
    ]
    connection.execute(insert(GroupRow), rows)
    responses = [
        {
            "project_id": project,
            "group_id": group.id,
            "index": index,
            "policy": response.policy,
            "body": response.model_dump(mode="json"),
        }
        for _, group in new
        for index, response in enumerate(group.responses)
    ]
    connection.execute(insert(ResponseRow), responses)
    return len(new)


def _insert_prompts(connection: Connection, project: int, prompts: dict[str, Prompt]) -> None:
    keys = select(PromptRow.key).where(PromptRow.project_id == project, PromptRow.key.in_(prompts))
    there = set(connection.scalars(keys))
    new = [
        {
            "project_id": project,
            "key": key,
            "prompt_id": prompt.id,
            "body": prompt.model_dump(mode="json"),
        }
        for key, prompt in prompts.items()
        if key not in there
    ]
    if new:
        connection.execute(insert(PromptRow), new)


def group_sizes(connection: Connection, project: int, groups: set[GroupId]) -> dict[str, int]:
    """How many responses these groups have; those that are not there are left out."""
    rows = connection.execute(
        select(ResponseRow.group_id, func.count())
        .where(ResponseRow.project_id == project, ResponseRow.group_id.in_(groups))
        .group_by(ResponseRow.group_id)
    )
    return dict(rows.tuples().all())


def insert_judgements(
    connection: Connection,
    name: str,
    judgements: Sequence[Judgement],
    *,
    client_keys: Mapping[JudgementId, str],
) -> int:
    """Insert the judgements that are not there and count them; a judgement without a client key
    has its own id as one."""
    project = open_project(connection, name)
    by_id = {judgement.id: judgement for judgement in judgements}
    _check_references(connection, project, name, by_id)
    keys = {id: client_keys.get(id, id) for id in by_id}
    same = or_(JudgementRow.id.in_(keys), JudgementRow.client_key.in_(keys.values()))
    there = connection.execute(
        select(JudgementRow.id, JudgementRow.client_key).where(
            JudgementRow.project_id == project, same
        )
    ).all()
    known_ids, known_keys = {row.id for row in there}, {row.client_key for row in there}
    new = [id for id in by_id if id not in known_ids and keys[id] not in known_keys]
    rows = [
        {
            "project_id": project,
            "id": id,
            "position": position,
            "group_id": by_id[id].group_id,
            "judge": by_id[id].judge,
            "kind": by_id[id].verdict.kind,
            "supersedes": by_id[id].supersedes,
            "client_key": keys[id],
            "body": by_id[id].model_dump(mode="json"),
        }
        for position, id in enumerate(new, last_position(connection, JudgementRow, project) + 1)
    ]
    if rows:
        connection.execute(insert(JudgementRow), rows)
    return len(rows)


def _check_references(
    connection: Connection, project: int, name: str, judgements: Mapping[JudgementId, Judgement]
) -> None:
    """A judgement is about a group that is there, and corrects a judgement that is there."""
    groups = {judgement.group_id for judgement in judgements.values()}
    known = select(GroupRow.id).where(GroupRow.project_id == project, GroupRow.id.in_(groups))
    if unknown := groups.difference(connection.scalars(known)):
        raise DataError(
            f"the project holds no group {min(unknown)}",
            source=f"project '{name}'",
            remedy="add the groups before their judgements",
        )
    corrected = {j.supersedes for j in judgements.values() if j.supersedes}
    known = select(JudgementRow.id).where(
        JudgementRow.project_id == project, JudgementRow.id.in_(corrected)
    )
    if unknown := corrected.difference(judgements, connection.scalars(known)):
        raise DataError(
            f"the project holds no judgement {min(unknown)}, which another one supersedes",
            source=f"project '{name}'",
            remedy="add judgements in the order in which they were made",
        )


def _in_force() -> ColumnElement[bool]:
    later = aliased(JudgementRow)
    corrections = select(later.id).where(
        later.project_id == JudgementRow.project_id, later.supersedes == JudgementRow.id
    )
    return ~exists(corrections)


def count_prompts(connection: Connection, project: int) -> int:
    """Different prompts, by their id."""
    ids = func.count(PromptRow.prompt_id.distinct())
    return connection.scalars(select(ids).where(PromptRow.project_id == project)).one()


def count_groups(connection: Connection, project: int) -> int:
    """Groups."""
    return _count(connection, GroupRow.project_id == project)


def count_responses(connection: Connection, project: int) -> int:
    """Responses."""
    return _count(connection, ResponseRow.project_id == project)


def count_judgements(connection: Connection, project: int) -> int:
    """Judgements that no other one supersedes."""
    return _count(connection, and_(JudgementRow.project_id == project, _in_force()))


def judges(connection: Connection, project: int) -> list[tuple[str, int, datetime, datetime]]:
    """(judge, judgements in force, first, last), by name."""
    times = JudgementRow.created_at
    rows = connection.execute(
        select(JudgementRow.judge, func.count(), func.min(times), func.max(times))
        .where(JudgementRow.project_id == project, _in_force())
        .group_by(JudgementRow.judge)
        .order_by(JudgementRow.judge)
    )
    return [(judge, count, first, last) for judge, count, first, last in rows]


def _count(connection: Connection, where: ColumnElement[bool]) -> int:
    return connection.scalars(select(func.count()).where(where)).one()


def _between(project: int, after: int, to: int) -> ColumnElement[bool]:
    return and_(GroupRow.project_id == project, GroupRow.position > after, GroupRow.position <= to)


def group_page(connection: Connection, project: int, after: int, to: int) -> list[Group]:
    """Groups."""
    here = _between(project, after, to)
    prompts = connection.execute(
        select(GroupRow.id, PromptRow.body).join(PromptRow).where(here).order_by(GroupRow.position)
    ).all()
    responses: dict[str, list[Response]] = {id: [] for id, _ in prompts}
    for id, body in connection.execute(
        select(ResponseRow.group_id, ResponseRow.body)
        .join(GroupRow)
        .where(here)
        .order_by(GroupRow.position, ResponseRow.index)
    ):
        responses[id].append(Response.model_validate(body))
    return [
        Group(prompt=Prompt.model_validate(body), responses=tuple(responses[id]))
        for id, body in prompts
    ]


def judgement_page(connection: Connection, project: int, after: int, to: int) -> list[Judgement]:
    """Judgements, superseded ones left out."""
    bodies = (
        select(JudgementRow.body)
        .where(
            JudgementRow.project_id == project,
            JudgementRow.position > after,
            JudgementRow.position <= to,
            _in_force(),
        )
        .order_by(JudgementRow.position)
    )
    return [Judgement.model_validate(body) for body in connection.scalars(bodies)]


def judged_page(
    connection: Connection, project: int, after: int, to: int
) -> list[tuple[Group, tuple[Judgement, ...]]]:
    """Groups, each with its judgements (there may be none)."""
    groups = group_page(connection, project, after, to)
    rows = connection.execute(
        select(JudgementRow.position, JudgementRow.group_id, JudgementRow.body).where(
            JudgementRow.project_id == project,
            JudgementRow.group_id.in_([group.id for group in groups]),
            _in_force(),
        )
    ).all()
    about: dict[str, list[Judgement]] = {}
    # sorted here: asked to sort, SQLite walks all judgements of the project in order instead
    for _, id, body in sorted(rows, key=lambda row: row.position):
        about.setdefault(id, []).append(Judgement.model_validate(body))
    return [(group, tuple(about.get(group.id, ()))) for group in groups]
