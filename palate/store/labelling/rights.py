"""What owners do about people: roles, pauses, removal, a new password, the end of sessions.

Whoever may log somebody out, or let them choose a new password, owns every project that this gives
entrance to: nobody gains a right by it.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, update

from palate.store.errors import DataError
from palate.store.labelling import accounts
from palate.store.labelling.accounts import REMOVED, Person, Role
from palate.store.labelling.checks import set_state
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.invitations import end_made_by
from palate.store.labelling.lease import member_of, release_all
from palate.store.labelling.live import forget
from palate.store.schema import MemberRow, TokenRow

_RESET_SECONDS = 24 * 3600.0


def change_state(
    connection: Connection, project: int, person: int, state: str, *, by: int, now: float
) -> None:
    """Pause a member, or let one go on."""
    member = member_of(connection, project, person)
    if state == "paused":
        _somebody_else(connection, person, by)
    set_state(connection, member, state, "by hand" if state == "paused" else "", now=now)
    audit(connection, f"set {state}", at=now, project=project, person=by, detail={"for": person})


def change_role(
    connection: Connection, project: int, person: int, role: Role, *, by: int, now: float
) -> None:
    """Give a member another role; who is no owner any more loses what owners made."""
    member = member_of(connection, project, person)
    if member.role == role:
        return
    _somebody_else(connection, person, by)
    own = (MemberRow.project_id == project, MemberRow.person_id == person)
    connection.execute(update(MemberRow).where(*own).values(role=role))
    if role != "owner":
        _end_made_by(connection, person, project)
    detail: dict[str, object] = {"for": person, "role": role}
    audit(connection, "set role", at=now, project=project, person=by, detail=detail)


def remove(connection: Connection, project: int, person: int, *, by: int, now: float) -> None:
    """Shut somebody out of a project. What they answered stays; what they held goes to others, what
    they made for programs and guests ends, and so do their sessions if no project is left."""
    member_of(connection, project, person)
    _somebody_else(connection, person, by)
    release_all(connection, project, person)
    forget(connection, project, person)
    own = (MemberRow.project_id == project, MemberRow.person_id == person)
    connection.execute(update(MemberRow).where(*own).values(state=REMOVED, reason=""))
    _end_made_by(connection, person, project)
    if not accounts.projects(connection, accounts.person(connection, person)):
        accounts.end_sessions(connection, person)
    audit(connection, "remove", at=now, project=project, person=by, detail={"for": person})


def _somebody_else(connection: Connection, person: int, by: int) -> None:
    if person == by:
        raise Refused("not_yourself")
    if accounts.person(connection, person).owner:
        raise Refused("owner_of_all")


def _end_made_by(connection: Connection, person: int, project: int) -> None:
    made = (TokenRow.kind == "api", TokenRow.made_by == person, TokenRow.project_id == project)
    connection.execute(delete(TokenRow).where(*made))
    end_made_by(connection, person, project)


def set_roles(
    connection: Connection,
    person: int,
    roles: Mapping[int, Role | None],
    *,
    by: Person,
    now: float,
) -> None:
    """Give a person roles in projects of `by`; None shuts them out of one."""
    if not set(roles) <= set(accounts.owned(connection, by)):
        raise Refused("not_allowed")
    somebody = accounts.person(connection, person)
    before = {project.id for project in accounts.projects(connection, somebody)}
    for project, role in sorted(roles.items()):
        if project not in before:
            if role:
                accounts.join(connection, project, person, role, now=now)
        elif role:
            change_role(connection, project, person, role, by=by.id, now=now)
        else:
            remove(connection, project, person, by=by.id, now=now)


def manages(connection: Connection, by: Person, person: int) -> bool:
    """Whether somebody else may log a person out and let them choose a new password."""
    somebody = accounts.person(connection, person)
    if somebody.owner or by.id == person:
        return False
    entered = {project.id for project in accounts.projects(connection, somebody)}
    return by.owner or (bool(entered) and entered <= set(accounts.owned(connection, by)))


def log_out(connection: Connection, by: Person, person: int, *, project: int, now: float) -> None:
    """End all sessions of a person."""
    if not manages(connection, by, person):
        raise Refused("not_yours_to_change")
    accounts.end_sessions(connection, person)
    detail: dict[str, object] = {"for": person}
    audit(connection, "log out", at=now, project=project, person=by.id, detail=detail)


def reset_link(connection: Connection, by: Person, person: int, *, project: int, now: float) -> str:
    """A secret with which a person chooses a new password, once; older ones end."""
    if not manages(connection, by, person):
        raise Refused("not_yours_to_change")
    detail: dict[str, object] = {"for": person}
    audit(connection, "reset link", at=now, project=project, person=by.id, detail=detail)
    return _only_reset(connection, person, made_by=by.id, now=now)


def reset_link_on_the_server(connection: Connection, login: str, *, now: float) -> str:
    """The same for whoever has the database in hands, for any account, owners included."""
    held = accounts.password_of(connection, login)
    if held is None:
        raise DataError(
            f"nobody has the login '{login}'",
            source="people",
            remedy="write the name with which one logs in, and name the database (--database)",
        )
    person, _ = held
    audit(connection, "reset link", at=now, person=None, detail={"for": person})
    return _only_reset(connection, person, made_by=None, now=now)


def _only_reset(connection: Connection, person: int, *, made_by: int | None, now: float) -> str:
    old = (TokenRow.kind == "reset", TokenRow.person_id == person)
    connection.execute(delete(TokenRow).where(*old))
    return accounts.issue(
        connection, "reset", now=now, lifetime=_RESET_SECONDS, person=person, made_by=made_by
    )


def reset_for(connection: Connection, secret: str, *, now: float) -> Person:
    """Who chooses a new password with a secret, while its maker might still give it out."""
    held = accounts.token(connection, "reset", secret, now=now)
    if held is None or held.person is None:
        raise Refused("reset_over")
    if held.made_by is not None:
        maker = accounts.person(connection, held.made_by)
        if not manages(connection, maker, held.person):
            raise Refused("reset_over")
    return accounts.person(connection, held.person)
