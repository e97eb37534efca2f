"""People, what they may enter, and the secrets by which they are known.

Secrets are random, shown once and stored as SHA-256; passwords arrive here hashed.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update

from palate.store import queries
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import task_of
from palate.store.schema import MemberRow, PersonRow, ProjectRow, TokenRow

Role = Literal["owner", "reviewer", "annotator"]
Kind = Literal["setup", "session", "invitation", "api", "reset"]
RANKS: Mapping[Role, int] = {"annotator": 0, "reviewer": 1, "owner": 2}
REMOVED = "removed"
"""The state of a member whose answers stay and who may do nothing here any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has logged in; an `owner` may enter every project."""

    id: int
    name: str
    owner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project, the role in which somebody enters it, and why they are paused in it, if so."""

    id: int
    name: str
    role: Role
    state: str
    reason: str


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
    """A secret as it is listed: whose it is, who made it, what it is for, never the secret."""

    hash: str
    kind: Kind
    person: int | None
    made_by: int | None
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
    made_by: int | None = None,
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
            made_by=made_by,
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


def _token(row: Row[TokenRow] | Row[TokenRow, str]) -> Token:
    return Token(
        hash=row.hash,
        kind=cast(Kind, row.kind),
        person=row.person_id,
        made_by=row.made_by,
        project=row.project_id,
        role=row.role,
        name=row.name,
        expires_at=row.expires_at,
    )


def programs(connection: Connection, project: int, *, now: float) -> list[tuple[Token, str]]:
    """The API tokens of a project that work, newest first, each with its maker's name."""
    rows = connection.execute(
        select(TokenRow, PersonRow.name.label("maker"))
        .join(PersonRow, PersonRow.id == TokenRow.made_by)
        .where(TokenRow.kind == "api", TokenRow.project_id == project, TokenRow.expires_at > now)
        .order_by(TokenRow.created_at.desc())
        .limit(200)
    )
    return [(_token(row), row.maker) for row in rows if owns(connection, row.made_by, project)]


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


def set_password(connection: Connection, person: int, password_hash: str, *, now: float) -> None:
    """A new password; every session that the old one opened ends, and so do links to change it."""
    account = update(PersonRow).where(PersonRow.id == person)
    connection.execute(account.values(password=password_hash))
    ended = (TokenRow.person_id == person, TokenRow.kind.in_(["session", "reset"]))
    connection.execute(delete(TokenRow).where(*ended))
    audit(connection, "password", at=now, person=person)


def end_sessions(connection: Connection, person: int) -> None:
    """Log somebody out of every browser."""
    ended = (TokenRow.person_id == person, TokenRow.kind == "session")
    connection.execute(delete(TokenRow).where(*ended))


def projects(connection: Connection, somebody: Person) -> list[Project]:
    """The projects that a person may enter, by name."""
    rows = connection.execute(
        select(ProjectRow.id, ProjectRow.name, MemberRow.role, MemberRow.state, MemberRow.reason)
        .outerjoin(MemberRow, _membership(somebody.id))
        .order_by(ProjectRow.name)
    )
    return [_entry(somebody, row) for row in rows if somebody.owner or row.role is not None]


def owned(connection: Connection, somebody: Person) -> dict[int, Project]:
    """The projects in which a person has an owner's rights, by their id."""
    found = projects(connection, somebody)
    return {one.id: one for one in found if one.role == "owner" and one.state != "paused"}


def owns(connection: Connection, person: int | None, project: int) -> bool:
    """Whether somebody has an owner's rights in a project now."""
    owner = select(PersonRow.owner).where(PersonRow.id == person)
    member = select(MemberRow.person_id).where(
        MemberRow.project_id == project,
        MemberRow.person_id == person,
        MemberRow.role == "owner",
        MemberRow.state.not_in(["paused", REMOVED]),
    )
    return bool(connection.scalar(owner)) or connection.scalar(member) is not None


def _membership(person: int) -> ColumnElement[bool]:
    return and_(
        MemberRow.project_id == ProjectRow.id,
        MemberRow.person_id == person,
        MemberRow.state != REMOVED,
    )


def _entry(somebody: Person, row: Row[int, str, str, str, str]) -> Project:
    id, name, role, state, reason = row
    if somebody.owner:  # nobody can pause the owner of the installation
        return Project(id=id, name=name, role="owner", state="active", reason="")
    return Project(id=id, name=name, role=cast(Role, role), state=state, reason=reason)


def project_named(connection: Connection, name: str) -> int:
    """The id of a project that has to be there."""
    return queries.project_id(connection, name)


def entered(connection: Connection, somebody: Person, project: int) -> Project:
    """A project that a person may enter; any other one is refused as if it did not exist."""
    row = connection.execute(
        select(ProjectRow.id, ProjectRow.name, MemberRow.role, MemberRow.state, MemberRow.reason)
        .outerjoin(MemberRow, _membership(somebody.id))
        .where(ProjectRow.id == project)
    ).one_or_none()
    if row is None or (row.role is None and not somebody.owner):
        raise Refused("no_project")
    return _entry(somebody, row)


def join(connection: Connection, project: int, person: int, role: Role, *, now: float) -> None:
    """Make a person a member, in the qualifying round if there is one. A member stays one, and no
    role is lowered."""
    own = (MemberRow.project_id == project, MemberRow.person_id == person)
    row = connection.execute(select(MemberRow).where(*own)).one_or_none()
    if row is not None and row.state != REMOVED and RANKS[cast(Role, row.role)] >= RANKS[role]:
        return
    qualifying = role == "annotator" and task_of(connection, project).qualification
    values = {"role": role, "state": "qualifying" if qualifying else "active", "reason": ""}
    if row is None:
        counts = {"project_id": project, "person_id": person, "served": 0, "answered": 0}
        connection.execute(insert(MemberRow).values(values | counts | {"cursor": 0}))
    elif row.state == REMOVED:
        connection.execute(update(MemberRow).where(*own).values(values))
    else:
        connection.execute(update(MemberRow).where(*own).values(role=role))
    audit(connection, "join", at=now, project=project, person=person, detail={"role": role})


def members(connection: Connection, project: int) -> list[Member]:
    """Everybody in a project, by name."""
    rows = connection.execute(
        select(MemberRow, PersonRow.name)
        .join(PersonRow, PersonRow.id == MemberRow.person_id)
        .where(MemberRow.project_id == project, MemberRow.state != REMOVED)
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
