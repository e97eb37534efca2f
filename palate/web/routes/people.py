"""What owners do about people and programs: invite, give roles, pause, remove, tokens."""

import re
from typing import cast

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.responses import Response

from palate.store.labelling import Desk, accounts, invitations, rights
from palate.store.labelling.accounts import RANKS, Member, Role
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.events import events
from palate.store.labelling.pace import DAYS, paces
from palate.web.pages import go_to, page
from palate.web.visitor import DeskHere, Form, Inside, Owner, word

router = APIRouter(prefix="/projects/{project}")
_TOKEN_SECONDS = 365 * 24 * 3600.0
_SCOPES = ("read", "write")
_EVENTS = 40


@router.get("/people")
def people(request: Request, here: Owner, desk: DeskHere) -> Response:
    """Members with their pace, open invitations, tokens, and what happened."""
    return _people(request, here, desk)


def _people(
    request: Request, here: Inside, desk: Desk, *, link: str = "", token: str = ""
) -> Response:
    now, project = desk.clock(), here.project.id
    with desk.reading() as connection:
        owned = accounts.owned(connection, here.person)
        return page(
            "people",
            request,
            here.visitor,
            inside=here,
            members=accounts.members(connection, project),
            paces=paces(connection, project, now=now),
            days=DAYS,
            invitations=invitations.invitations(connection, project, visible=owned, now=now),
            programs=accounts.programs(connection, project, now=now),
            events=events(connection, project, limit=_EVENTS),
            others=[one for one in owned.values() if one.id != project],
            now=now,
            link=link,
            token=token,
        )


@router.get("/people/{member}")
def person(request: Request, here: Owner, desk: DeskHere, member: int) -> Response:
    """One member: pace, roles, and what can be done."""
    return _person(request, here, desk, member)


def _person(
    request: Request, here: Inside, desk: Desk, member: int, *, link: str = "", done: str = ""
) -> Response:
    now = desk.clock()
    with desk.reading() as connection:
        found = _member(accounts.members(connection, here.project.id), member)
        somebody = accounts.person(connection, member)
        owned = accounts.owned(connection, here.person)
        entered = {one.id: one.role for one in accounts.projects(connection, somebody)}
        return page(
            "person",
            request,
            here.visitor,
            inside=here,
            member=found,
            pace=paces(connection, here.project.id, now=now).get(member),
            days=DAYS,
            roles=[(one, entered.get(one.id, "")) for one in owned.values()],
            changeable=not somebody.owner and somebody.id != here.person.id,
            managed=rights.manages(connection, here.person, member),
            now=now,
            link=link,
            done=done,
        )


def _member(members: list[Member], person: int) -> Member:
    found = [one for one in members if one.person == person]
    if not found:
        raise Refused("no_member")
    return found[0]


def _address(here: Inside, member: int) -> str:
    return f"/projects/{here.project.id}/people/{member}"


@router.post("/people/{member}/roles")
def roles(here: Owner, desk: DeskHere, form: Form, member: int) -> Response:
    """Give a member roles in the projects that one owns, or take them."""
    with desk.writing() as connection:
        _member(accounts.members(connection, here.project.id), member)
        rights.set_roles(
            connection,
            member,
            {
                one: _role(word(form, f"role_{one}")) if word(form, f"role_{one}") else None
                for one in accounts.owned(connection, here.person)
                if f"role_{one}" in form
            },
            by=here.person,
            now=desk.clock(),
        )
        left = any(one.person == member for one in accounts.members(connection, here.project.id))
    return go_to(_address(here, member) if left else f"/projects/{here.project.id}/people")


def _role(name: str) -> Role:
    if name not in RANKS:
        raise Refused("not_allowed")
    return cast(Role, name)


@router.post("/people/{member}/remove")
def remove(here: Owner, desk: DeskHere, form: Form, member: int) -> Response:
    """Shut a member out of the project."""
    with desk.writing() as connection:
        rights.remove(connection, here.project.id, member, by=here.person.id, now=desk.clock())
    return go_to(f"/projects/{here.project.id}/people")


@router.post("/people/{member}/reset")
def reset(request: Request, here: Owner, desk: DeskHere, form: Form, member: int) -> Response:
    """A link with which a member chooses a new password; it is shown once."""
    with desk.writing() as connection:
        _member(accounts.members(connection, here.project.id), member)
        secret = rights.reset_link(
            connection, here.person, member, project=here.project.id, now=desk.clock()
        )
    return _person(request, here, desk, member, link=f"{request.base_url}passwords/{secret}")


@router.post("/people/{member}/sessions")
def log_out(request: Request, here: Owner, desk: DeskHere, form: Form, member: int) -> Response:
    """End all sessions of a member."""
    with desk.writing() as connection:
        _member(accounts.members(connection, here.project.id), member)
        rights.log_out(connection, here.person, member, project=here.project.id, now=desk.clock())
    return _person(request, here, desk, member, done="logged_out")


@router.post("/people/{member}/{state}")
def change(here: Owner, desk: DeskHere, form: Form, member: int, state: str) -> Response:
    """Pause a member, or let one go on."""
    if state not in ("active", "paused"):
        raise Refused("not_found")
    with desk.writing() as connection:
        rights.change_state(
            connection, here.project.id, member, state, by=here.person.id, now=desk.clock()
        )
    return go_to(_address(here, member))


@router.post("/invitations")
def invite(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """A link that lets one person join this project, and others that one owns; shown once."""
    with desk.writing() as connection:
        wanted: dict[int, Role] = {here.project.id: _role(word(form, "role"))}
        for other in accounts.owned(connection, here.person):
            if other != here.project.id and (name := word(form, f"role_{other}")):
                wanted[other] = _role(name)
        secret = invitations.invite(
            connection,
            here.person,
            wanted,
            name=" ".join(word(form, "name").split())[:64],
            now=desk.clock(),
        )
    return _people(request, here, desk, link=f"{request.base_url}invitations/{secret}")


@router.post("/invitations/{hash}/withdraw")
def withdraw(here: Owner, desk: DeskHere, form: Form, hash: str) -> Response:
    """Make an invitation worthless, as far as it opens projects that one owns."""
    with desk.writing() as connection:
        owned = accounts.owned(connection, here.person)
        invitations.withdraw(connection, hash, owned, by=here.person.id, now=desk.clock())
    return go_to(f"/projects/{here.project.id}/people")


@router.post("/tokens")
def make_token(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """A token for a program; it is shown once, and works while its maker owns the project."""
    scope, name = word(form, "scope"), word(form, "name").strip()
    if scope not in _SCOPES or not re.fullmatch(r"[\w.\-]{1,64}", name):
        raise Refused("bad_name")
    with desk.writing() as connection:
        secret = accounts.issue(
            connection,
            "api",
            now=desk.clock(),
            lifetime=_TOKEN_SECONDS,
            made_by=here.person.id,
            project=here.project.id,
            role=scope,
            name=name,
        )
        _note(connection, here, f"token {scope}", name, now=desk.clock())
    return _people(request, here, desk, token=secret)


@router.post("/tokens/{hash}/withdraw")
def withdraw_token(here: Owner, desk: DeskHere, form: Form, hash: str) -> Response:
    """Make a token worthless."""
    with desk.writing() as connection:
        accounts.revoke(connection, hash, "api", project=here.project.id)
        _note(connection, here, "withdraw token", "", now=desk.clock())
    return go_to(f"/projects/{here.project.id}/people")


def _note(connection: Connection, here: Inside, action: str, name: str, *, now: float) -> None:
    audit(
        connection,
        action,
        at=now,
        project=here.project.id,
        person=here.person.id,
        detail={"name": name} if name else {},
    )
