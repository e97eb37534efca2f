"""People, what they may enter, and the secrets by which they are known.

Secrets are random, shown once and stored as SHA-256; passwords arrive here hashed.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import Connection, Row, delete, func, insert, select

from palate.store import queries
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import task_of
from palate.store.schema import AuditRow, MemberRow, PersonRow, ProjectRow, TokenRow

Role = Literal["owner", "reviewer", "annotator"]
Kind = Literal["setup", "session", "invitation", "api"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has logged in; an `owner` may enter every project."""

    id: int
    name: str
    owner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project and the role in which somebody enters it."""

    id: int
    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person in a project, as its owner sees them."""

    person: int
    name: str
    role: Role
    state: str
    reason: str
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A secret as it is listed: who holds it and what it is for, never the secret."""

    hash: str
    kind: Kind
    person: int | None
    project: int | None
    role: str
    name: str
    expires_at: float


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(
    connection: Connection,
    kind: Kind,
    *,
    now: float,
    lifetime: float,
    person: int | None = None,
    project: int | None = None,
    role: str = "",
    name: str = "",
) -> str:
    """A new secret; it cannot be read again."""
    secret = secrets.token_urlsafe(32)
    connection.execute(
        insert(TokenRow).values(
            hash=digest(secret),
            kind=kind,
            person_id=person,
            project_id=project,
            role=role,
            name=name,
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    return secret


def token(connection: Connection, kind: Kind, secret: str, *, now: float) -> Token | None:
    """What a secret is for, while it is valid."""
    row = connection.execute(
        select(TokenRow).where(
            TokenRow.hash == digest(secret), TokenRow.kind == kind, TokenRow.expires_at > now
        )
    ).one_or_none()
    return None if row is None else _token(row)


def _token(row: Row[TokenRow]) -> Token:
    return Token(
        hash=row.hash,
        kind=cast(Kind, row.kind),
        person=row.person_id,
        project=row.project_id,
        role=row.role,
        name=row.name,
        expires_at=row.expires_at,
    )


def tokens(
    connection: Connection,
    kind: Kind,
    *,
    now: float,
    project: int | None = None,
    person: int | None = None,
) -> list[Token]:
    """The valid secrets of a project or of a person, newest first."""
    where = [TokenRow.kind == kind, TokenRow.expires_at > now]
    if project is not None:
        where.append(TokenRow.project_id == project)
    if person is not None:
        where.append(TokenRow.person_id == person)
    rows = connection.execute(
        select(TokenRow).where(*where).order_by(TokenRow.created_at.desc()).limit(200)
    )
    return [_token(row) for row in rows]


def revoke(connection: Connection, hash: str, kind: Kind, *, project: int | None = None) -> None:
    """Make a secret worthless; with a project, only if it is one of that project."""
    where = [TokenRow.hash == hash, TokenRow.kind == kind]
    if project is not None:
        where.append(TokenRow.project_id == project)
    connection.execute(delete(TokenRow).where(*where))


def has_people(connection: Connection) -> bool:
    """Whether anybody has an account: before that, only the first-run token opens the door."""
    return connection.scalar(select(PersonRow.id).limit(1)) is not None


def first_run_token(connection: Connection, *, now: float) -> str:
    """A new token to make the first account with; older ones end."""
    connection.execute(delete(TokenRow).where(TokenRow.kind == "setup"))
    return issue(connection, "setup", now=now, lifetime=24 * 3600)


def add_person(
    connection: Connection, name: str, password_hash: str, *, owner: bool, now: float
) -> Person:
    """A new account."""
    taken = select(PersonRow.id).where(func.lower(PersonRow.name) == name.lower())
    if connection.scalar(taken) is not None:
        raise Refused("name_taken")
    id = connection.execute(
        insert(PersonRow)
        .values(name=name, password=password_hash, owner=owner, created_at=now)
        .returning(PersonRow.id)
    ).scalar_one()
    audit(connection, "account", at=now, person=id, detail={"name": name})
    return Person(id=id, name=name, owner=owner)


def password_of(connection: Connection, name: str) -> tuple[int, str] | None:
    """(id, password hash) of an account."""
    row = connection.execute(
        select(PersonRow.id, PersonRow.password).where(func.lower(PersonRow.name) == name.lower())
    ).one_or_none()
    return row and (row.id, row.password)


def person(connection: Connection, id: int) -> Person:
    """An account by its id."""
    row = connection.execute(select(PersonRow).where(PersonRow.id == id)).one()
    return Person(id=row.id, name=row.name, owner=row.owner)


def projects(connection: Connection, somebody: Person) -> list[Project]:
    """The projects that a person may enter, by name."""
    if somebody.owner:
        rows = connection.execute(select(ProjectRow.id, ProjectRow.name).order_by(ProjectRow.name))
        return [Project(id=id, name=name, role="owner") for id, name in rows]
    rows = connection.execute(
        select(ProjectRow.id, ProjectRow.name, MemberRow.role)
        .join(MemberRow, MemberRow.project_id == ProjectRow.id)
        .where(MemberRow.person_id == somebody.id)
        .order_by(ProjectRow.name)
    )
    return [Project(id=id, name=name, role=cast(Role, role)) for id, name, role in rows]


def project_named(connection: Connection, name: str) -> int:
    """The id of a project that has to be there."""
    return queries.project_id(connection, name)


def entered(connection: Connection, somebody: Person, project: int) -> Project:
    """A project that a person may enter; any other one is refused as if it did not exist."""
    name = connection.scalar(select(ProjectRow.name).where(ProjectRow.id == project))
    role = "owner" if somebody.owner else _role(connection, project, somebody.id)
    if name is None or role is None:
        raise Refused("no_project")
    return Project(id=project, name=name, role=role)


def _role(connection: Connection, project: int, person: int) -> Role | None:
    role = select(MemberRow.role).where(
        MemberRow.project_id == project, MemberRow.person_id == person
    )
    return connection.scalar(role)  # pyright: ignore[reportReturnType]


def join(connection: Connection, project: int, person: int, role: Role, *, now: float) -> None:
    """Make a person a member, in the qualifying round if there is one; a member stays as it is."""
    if _role(connection, project, person) is not None:
        return
    qualifying = role == "annotator" and task_of(connection, project).qualification
    connection.execute(
        insert(MemberRow).values(
            project_id=project,
            person_id=person,
            role=role,
            state="qualifying" if qualifying else "active",
            reason="",
            served=0,
            answered=0,
            cursor=0,
        )
    )
    audit(connection, "join", at=now, project=project, person=person, detail={"role": role})


def members(connection: Connection, project: int) -> list[Member]:
    """Everybody in a project, by name."""
    rows = connection.execute(
        select(MemberRow, PersonRow.name)
        .join(PersonRow, PersonRow.id == MemberRow.person_id)
        .where(MemberRow.project_id == project)
        .order_by(PersonRow.name)
    )
    return [
        Member(
            person=row.person_id,
            name=row.name,
            role=cast(Role, row.role),
            state=row.state,
            reason=row.reason,
            answered=row.answered,
        )
        for row in rows
    ]


def history(connection: Connection, project: int, *, limit: int) -> list[tuple[float, str, str]]:
    """(time, who, what) of the newest events of a project."""
    rows = connection.execute(
        select(AuditRow.at, PersonRow.name, AuditRow.action)
        .outerjoin(PersonRow, PersonRow.id == AuditRow.person_id)
        .where(AuditRow.project_id == project)
        .order_by(AuditRow.id.desc())
        .limit(limit)
    )
    return [(at, name or "", action) for at, name, action in rows]
