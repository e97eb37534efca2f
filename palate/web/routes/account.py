"""The first account, logging in and out, invitations, and the list of projects."""

import re
from typing import cast

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from palate.store.labelling import Desk, accounts, review
from palate.store.labelling.accounts import Role, Token
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import project_name
from palate.web.pages import THEMES, go_to, keep_session, page
from palate.web.security import check_password, hash_password
from palate.web.visitor import (
    COOKIE,
    SESSION_SECONDS,
    Anybody,
    DeskHere,
    Form,
    Visitor,
    limited,
    word,
)

router = APIRouter()
_NAME = re.compile(r"[\w .\-]{1,64}")
_SHORTEST_PASSWORD = 10


@router.get("/")
def home(request: Request, anybody: Anybody, desk: DeskHere) -> Response:
    """The projects of whoever has logged in."""
    with desk.reading() as connection:
        if not accounts.has_people(connection):
            return go_to("/setup")
        if anybody.person is None:
            return go_to("/login")
        found = [
            (project, review.progress(connection, project.id, None))
            for project in accounts.projects(connection, anybody.person)
        ]
    return page("home", request, anybody, projects=found)


@router.get("/setup")
def setup_page(request: Request, anybody: Anybody, desk: DeskHere, token: str = "") -> Response:
    """The form for the first account."""
    with desk.reading() as connection:
        if accounts.has_people(connection):
            return go_to("/login")
    return page("setup", request, anybody, token=token, problem="", name="")


@router.post("/setup")
def setup(request: Request, anybody: Anybody, desk: DeskHere, form: Form) -> Response:
    """Make the first account, which owns every project."""
    limited(request, "login")
    name, token = word(form, "name").strip(), word(form, "token").strip()
    problem = _account_problem(form)
    if not problem:
        hashed = hash_password(word(form, "password"))
        with desk.writing() as connection:
            held = accounts.token(connection, "setup", token, now=desk.clock())
            if held is None or accounts.has_people(connection):
                problem = "wrong_token"
            else:
                accounts.revoke(connection, held.hash, "setup")
                made = accounts.add_person(connection, name, hashed, owner=True, now=desk.clock())
                return _logged_in(request, desk, connection, made.id)
    return page("setup", request, anybody, status=400, token=token, problem=problem, name=name)


@router.get("/login")
def login_page(request: Request, anybody: Anybody) -> Response:
    """The form to log in."""
    if anybody.person is not None:
        return go_to("/")
    return page("login", request, anybody, problem="", name="")


@router.post("/login")
def login(request: Request, anybody: Anybody, desk: DeskHere, form: Form) -> Response:
    """Log in with name and password."""
    name = word(form, "name").strip()
    limited(request, "login")
    limited(request, "login", f"name {name.lower()}")
    with desk.reading() as connection:
        found = accounts.password_of(connection, name)
    if check_password(word(form, "password"), found and found[1]) and found:
        with desk.writing() as connection:
            return _logged_in(request, desk, connection, found[0])
    with desk.writing() as connection:
        audit(connection, "failed login", at=desk.clock(), person=found and found[0])
    return page("login", request, anybody, status=400, problem="wrong_login", name=name)


@router.post("/logout")
def logout(anybody: Anybody, desk: DeskHere, form: Form) -> Response:
    """End the session."""
    with desk.writing() as connection:
        accounts.revoke(connection, accounts.digest(anybody.secret), "session")
    response = go_to("/login")
    response.delete_cookie(COOKIE)
    return response


@router.post("/theme")
def theme(request: Request, anybody: Anybody, form: Form) -> Response:
    """Keep the choice of light or dark, and go back."""
    path = word(form, "path")
    response = go_to(path if re.fullmatch(r"/[\w/\-]*", path) and "//" not in path else "/")
    chosen = word(form, "theme")
    if chosen in THEMES:
        response.set_cookie("theme", chosen, max_age=10**8, samesite="lax")
    return response


@router.get("/invitations/{secret}")
def invitation_page(request: Request, anybody: Anybody, desk: DeskHere, secret: str) -> Response:
    """What an invitation is for."""
    held, name = _invitation(desk, secret)
    return _invited(request, anybody, secret, held, name, status=200)


@router.post("/invitations/{secret}")
def accept(request: Request, anybody: Anybody, desk: DeskHere, form: Form, secret: str) -> Response:
    """Join a project, with a new account for those who have none."""
    limited(request, "login")
    held, name = _invitation(desk, secret)
    problem = "" if anybody.person else _account_problem(form)
    if problem:
        return _invited(request, anybody, secret, held, name, status=400, problem=problem)
    hashed = "" if anybody.person else hash_password(word(form, "password"))
    try:
        return _accepted(
            request, anybody, desk, secret=secret, name=word(form, "name").strip(), hashed=hashed
        )
    except Refused as refused:
        if refused.reason != "name_taken":
            raise
        return _invited(request, anybody, secret, held, name, status=400, problem="name_taken")


def _accepted(
    request: Request, anybody: Visitor, desk: Desk, *, secret: str, name: str, hashed: str
) -> Response:
    now = desk.clock()
    with desk.writing() as connection:
        held = accounts.token(connection, "invitation", secret, now=now)
        if held is None or held.project is None:
            raise Refused("invitation_over")
        person = anybody.person or accounts.add_person(
            connection, name, hashed, owner=False, now=now
        )
        accounts.revoke(connection, held.hash, "invitation")
        accounts.join(connection, held.project, person.id, cast(Role, held.role), now=now)
        target = f"/projects/{held.project}/label"
        if anybody.person:
            return go_to(target)
        return _logged_in(request, desk, connection, person.id, to=target)


def _invitation(desk: Desk, secret: str) -> tuple[Token, str]:
    with desk.reading() as connection:
        held = accounts.token(connection, "invitation", secret, now=desk.clock())
        if held is None or held.project is None:
            raise Refused("invitation_over")
        return held, project_name(connection, held.project)


def _invited(
    request: Request,
    anybody: Visitor,
    secret: str,
    held: Token,
    name: str,
    *,
    status: int,
    problem: str = "",
) -> Response:
    return page(
        "invitation",
        request,
        anybody,
        status=status,
        secret=secret,
        invited_as=held.role,
        invited_to=name,
        problem=problem,
    )


def _account_problem(form: FormData) -> str:
    if not _NAME.fullmatch(word(form, "name").strip()):
        return "bad_name"
    return "bad_password" if len(word(form, "password")) < _SHORTEST_PASSWORD else ""


def _logged_in(
    request: Request, desk: Desk, connection: Connection, person: int, *, to: str = "/"
) -> Response:
    secret = accounts.issue(
        connection, "session", now=desk.clock(), lifetime=SESSION_SECONDS, person=person
    )
    response = go_to(to)
    keep_session(request, response, secret)
    return response
