"""Who is asking: the session of a browser, the person behind it, and what they may do."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData

from palate.store.labelling import Desk, accounts
from palate.store.labelling.accounts import RANKS, Person, Project, Role
from palate.store.labelling.errors import Refused
from palate.web.security import Limit, RateLimits, csrf_token, same

COOKIE = "palate"
SESSION_SECONDS = 14 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A browser: the secret in its cookie, and who has logged in with it (nobody: None)."""

    secret: str
    person: Person | None

    @property
    def csrf(self) -> str:
        """What the forms of this session carry."""
        return csrf_token(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """Somebody in a project that they may enter."""

    visitor: Visitor
    person: Person
    project: Project


class LoginNeeded(Exception):
    """The page is for people who have logged in."""


class Paused(Exception):
    """Somebody is paused in a project, and sees nothing of it but that."""

    def __init__(self, project: Project) -> None:
        self.project = project
        super().__init__(project.name)


def desk_of(request: Request) -> Desk:
    """The database."""
    return request.app.state.desk


DeskHere = Annotated[Desk, Depends(desk_of)]


def visitor(request: Request, desk: DeskHere) -> Visitor:
    """The browser that asks; one that is new gets a secret."""
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        return Visitor(secret=secrets.token_urlsafe(32), person=None)
    with desk.reading() as connection:
        held = accounts.token(connection, "session", secret, now=desk.clock())
        person = held and held.person and accounts.person(connection, held.person)
    return Visitor(secret=secret, person=person or None)


Anybody = Annotated[Visitor, Depends(visitor)]


def limited(request: Request, limit: Limit, caller: str = "") -> None:
    """Refuse a caller who asks too often; without a name the caller is an address."""
    limits: RateLimits = request.app.state.limits
    address = request.client.host if request.client else ""
    if not limits.admits(limit, caller or address):
        raise Refused("too_often")


async def checked_form(request: Request, anybody: Anybody) -> FormData:
    """The fields of a form that this session's page sent."""
    limited(request, "change", str(anybody.person.id) if anybody.person else "")
    return _checked(await request.form(max_files=0, max_fields=5000), anybody)


def _checked(form: FormData, anybody: Visitor) -> FormData:
    token = form.get("csrf")
    if not isinstance(token, str) or not same(token, anybody.csrf):
        raise Refused("bad_form")
    return form


Form = Annotated[FormData, Depends(checked_form)]


def somebody(request: Request, anybody: Anybody) -> Person:
    """The person who has logged in."""
    if anybody.person is None:
        raise LoginNeeded
    limited(request, "read", str(anybody.person.id))
    return anybody.person


Somebody = Annotated[Person, Depends(somebody)]


def inside(least: Role) -> Callable[..., Inside]:
    """A dependency: somebody whose role in the project `project` of the path is at least this."""

    def dependency(project: int, anybody: Anybody, person: Somebody, desk: DeskHere) -> Inside:
        with desk.reading() as connection:
            found = accounts.entered(connection, person, project)
        if found.state == "paused":
            raise Paused(found)
        if RANKS[found.role] < RANKS[least]:
            raise Refused("not_allowed")
        return Inside(visitor=anybody, person=person, project=found)

    return dependency


Annotator = Annotated[Inside, Depends(inside("annotator"))]
Reviewer = Annotated[Inside, Depends(inside("reviewer"))]
Owner = Annotated[Inside, Depends(inside("owner"))]


async def checked_upload(request: Request, here: Owner) -> FormData:
    """The fields of a form with one file; of anybody but an owner it is not even read."""
    limited(request, "change", str(here.person.id))
    return _checked(await request.form(max_files=1, max_fields=10), here.visitor)


Upload = Annotated[FormData, Depends(checked_upload)]


def word(form: FormData, name: str) -> str:
    """A field's text; empty where there is none."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def whole(form: FormData, name: str, *, default: int) -> int:
    """A field's number of up to nine digits; the default where there is none."""
    value = word(form, name)
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else default


def words(form: FormData, name: str) -> list[str]:
    """All texts of a field."""
    return [value for value in form.getlist(name) if isinstance(value, str)]
