"""Invitations: a link that lets one person join one project or several, each in a role.

What an invitation opens is what its maker could open now: it ends with their rights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, delete, insert, select

from palate.store.labelling import accounts
from palate.store.labelling.accounts import Person, Role
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.schema import GrantRow, PersonRow, ProjectRow, TokenRow

LIFETIME = 7 * 24 * 3600.0
"""Seconds that an invitation works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A project that an invitation opens, and in which role."""

    project: int
    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation as it is listed: whom it is for, who made it, what it opens until when."""

    hash: str
    name: str
    maker: str
    grants: tuple[Grant, ...]
    expires_at: float


def invite(
    connection: Connection, by: Person, roles: Mapping[int, Role], *, name: str, now: float
) -> str:
    """A new invitation into projects that its maker owns; its secret cannot be read again."""
    if not roles:
        raise Refused("choose_project")
    if not set(roles) <= set(accounts.owned(connection, by)):
        raise Refused("not_allowed")
    secret = accounts.issue(
        connection, "invitation", now=now, lifetime=LIFETIME, made_by=by.id, name=name
    )
    hash = accounts.digest(secret)
    for project, role in roles.items():
        connection.execute(insert(GrantRow).values(hash=hash, project_id=project, role=role))
        detail: dict[str, object] = {"name": name}
        audit(connection, f"invite {role}", at=now, project=project, person=by.id, detail=detail)
    return secret


def invitation(connection: Connection, secret: str, *, now: float) -> Invitation:
    """What an invitation opens."""
    held = accounts.token(connection, "invitation", secret, now=now)
    found = [] if held is None else _listed(connection, [held.hash])
    if not found or not found[0].grants:
        raise Refused("invitation_over")
    return found[0]


def accept(connection: Connection, secret: str, person: int, *, now: float) -> Invitation:
    """Use an invitation up, and join all that it opened."""
    one = select(TokenRow.hash).where(TokenRow.hash == accounts.digest(secret))
    connection.execute(one.with_for_update())  # it works once: a second guest finds it gone
    held = invitation(connection, secret, now=now)
    for grant in held.grants:
        accounts.join(connection, grant.project, person, grant.role, now=now)
    _end(connection, [held.hash])
    return held


def invitations(
    connection: Connection, project: int, *, visible: Collection[int], now: float
) -> list[Invitation]:
    """The open invitations into a project, newest first, with what of them is `visible`."""
    hashes = connection.scalars(
        select(TokenRow.hash)
        .join(GrantRow, GrantRow.hash == TokenRow.hash)
        .where(GrantRow.project_id == project, TokenRow.expires_at > now)
        .order_by(TokenRow.created_at.desc())
        .limit(200)
    ).all()
    found = _listed(connection, hashes)
    return [
        Invitation(
            hash=one.hash,
            name=one.name,
            maker=one.maker,
            grants=tuple(grant for grant in one.grants if grant.project in visible),
            expires_at=one.expires_at,
        )
        for one in found
        if any(grant.project == project for grant in one.grants)
    ]


def withdraw(
    connection: Connection, hash: str, projects: Collection[int], *, by: int, now: float
) -> None:
    """Take these projects away from an invitation; one that opens nothing more is over."""
    opened = (GrantRow.hash == hash, GrantRow.project_id.in_(projects))
    gone = connection.scalars(select(GrantRow.project_id).where(*opened)).all()
    connection.execute(delete(GrantRow).where(*opened))
    for project in gone:
        audit(connection, "withdraw invitation", at=now, project=project, person=by)
    if connection.scalar(select(GrantRow.hash).where(GrantRow.hash == hash).limit(1)) is None:
        _end(connection, [hash])


def end_made_by(connection: Connection, person: int, project: int) -> None:
    """Take a project away from all invitations that somebody made."""
    made = select(TokenRow.hash).where(TokenRow.kind == "invitation", TokenRow.made_by == person)
    hashes = connection.scalars(made).all()
    gone = (GrantRow.hash.in_(hashes), GrantRow.project_id == project)
    connection.execute(delete(GrantRow).where(*gone))
    left = connection.scalars(select(GrantRow.hash).where(GrantRow.hash.in_(hashes))).all()
    _end(connection, sorted(set(hashes) - set(left)))


def _end(connection: Connection, hashes: Collection[str]) -> None:
    connection.execute(delete(GrantRow).where(GrantRow.hash.in_(hashes)))
    ended = (TokenRow.hash.in_(hashes), TokenRow.kind == "invitation")
    connection.execute(delete(TokenRow).where(*ended))


def _listed(connection: Connection, hashes: Collection[str]) -> list[Invitation]:
    rows = connection.execute(
        select(TokenRow, PersonRow.name.label("maker"))
        .outerjoin(PersonRow, PersonRow.id == TokenRow.made_by)
        .where(TokenRow.hash.in_(hashes))
        .order_by(TokenRow.created_at.desc())
    ).all()
    return [
        Invitation(
            hash=row.hash,
            name=row.name,
            maker=row.maker or "",
            grants=_grants(connection, row.hash, row.made_by),
            expires_at=row.expires_at,
        )
        for row in rows
    ]


def _grants(connection: Connection, hash: str, maker: int | None) -> tuple[Grant, ...]:
    rows = connection.execute(
        select(GrantRow.project_id, ProjectRow.name, GrantRow.role)
        .join(ProjectRow, ProjectRow.id == GrantRow.project_id)
        .where(GrantRow.hash == hash)
        .order_by(ProjectRow.name)
    )
    return tuple(
        Grant(project=project, name=name, role=cast(Role, role))
        for project, name, role in rows
        if maker is None or accounts.owns(connection, maker, project)
    )
