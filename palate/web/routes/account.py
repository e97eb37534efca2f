"""Accounts: the first one, logging in and out, passwords, invitations, the list of projects."""

import re

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from palate.store.labelling import Desk, accounts, invitations, items, review, rights
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.invitations import Invitation
from palate.web.pages import THEMES, go_to, keep_session, page
from palate.web.security import check_password, hash_password
from palate.web.visitor import (
    COOKIE,
    SESSION_SECONDS,
    Anybody,
    DeskHere,
    Form,
    Somebody,
    Visitor,
    limited,
    word,
)

router = APIRouter()
_NAME = re.compile(r"[\w .\-]{1,64}")
_SHORTEST_PASSWORD = 10
_INVITATION = re.compile(r"/invitations/[\w\-]+")


@router.get("/")
def home(request: Request, anybody: Anybody, desk: DeskHere) -> Response:
    """The projects of whoever has logged in."""
    with desk.reading() as connection:
        if not accounts.has_people(connection):
            return go_to("/setup")
        if anybody.person is None:
            return go_to("/login")
        found = [
            (
                project,
                review.progress(connection, project.id, anybody.person.id),
                items.is_set_up(connection, project.id),
            )
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
def login_page(request: Request, anybody: Anybody, to: str = "") -> Response:
    """The form to log in, on the way to an invitation perhaps."""
    if anybody.person is not None:
        return go_to("/")
    return page("login", request, anybody, problem="", name="", to=_way(to))


def _way(path: str) -> str:
    """Where somebody goes after logging in."""
    return path if _INVITATION.fullmatch(path) else "/"


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
            return _logged_in(request, desk, connection, found[0], to=_way(word(form, "to")))
    with desk.writing() as connection:
        audit(connection, "failed login", at=desk.clock(), person=found and found[0])
    to = _way(word(form, "to"))
    return page("login", request, anybody, status=400, problem="wrong_login", name=name, to=to)


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


@router.get("/account")
def own_account(request: Request, anybody: Anybody, person: Somebody) -> Response:
    """One's own account: a new password, and the end of all sessions."""
    return page("account", request, anybody, problem="")


@router.post("/account/password")
def change_password(
    request: Request, anybody: Anybody, person: Somebody, desk: DeskHere, form: Form
) -> Response:
    """Choose another password; every other session ends."""
    limited(request, "login")
    limited(request, "login", f"name {person.name.lower()}")
    with desk.reading() as connection:
        found = accounts.password_of(connection, person.name)
    problem = _password_problem(form)
    if not check_password(word(form, "old"), found and found[1]):
        problem = "wrong_password"
    if problem:
        return page("account", request, anybody, status=400, problem=problem)
    return _password_set(request, desk, person.id, word(form, "password"), link="")


@router.post("/account/sessions")
def end_sessions(person: Somebody, desk: DeskHere, form: Form) -> Response:
    """End all of one's own sessions, this one too."""
    with desk.writing() as connection:
        accounts.end_sessions(connection, person.id)
        audit(connection, "log out", at=desk.clock(), person=person.id)
    response = go_to("/login")
    response.delete_cookie(COOKIE)
    return response


@router.get("/passwords/{secret}")
def reset_page(request: Request, anybody: Anybody, desk: DeskHere, secret: str) -> Response:
    """The form behind a link for a new password."""
    return _reset(request, anybody, desk, secret)


def _reset(
    request: Request, anybody: Visitor, desk: Desk, secret: str, *, problem: str = ""
) -> Response:
    with desk.reading() as connection:
        somebody = rights.reset_for(connection, secret, now=desk.clock())
    status = 400 if problem else 200
    return page(
        "reset", request, anybody, status=status, secret=secret, name=somebody.name, problem=problem
    )


@router.post("/passwords/{secret}")
def reset(request: Request, anybody: Anybody, desk: DeskHere, form: Form, secret: str) -> Response:
    """Choose a new password with a link, which is then used up; every session ends."""
    limited(request, "login")
    if problem := _password_problem(form):
        return _reset(request, anybody, desk, secret, problem=problem)
    with desk.reading() as connection:
        somebody = rights.reset_for(connection, secret, now=desk.clock())
    return _password_set(request, desk, somebody.id, word(form, "password"), link=secret)


def _password_set(
    request: Request, desk: Desk, person: int, password: str, *, link: str
) -> Response:
    hashed = hash_password(password)
    with desk.writing() as connection:
        if link:  # still good: nobody has used it meanwhile
            rights.reset_for(connection, link, now=desk.clock())
        accounts.set_password(connection, person, hashed, now=desk.clock())
        return _logged_in(request, desk, connection, person)


def _password_problem(form: FormData) -> str:
    return "bad_password" if len(word(form, "password")) < _SHORTEST_PASSWORD else ""


@router.get("/invitations/{secret}")
def invitation_page(request: Request, anybody: Anybody, desk: DeskHere, secret: str) -> Response:
    """What an invitation is for."""
    held = _invitation(desk, secret)
    return _invited(request, anybody, secret, held, name=held.name, status=200)


@router.post("/invitations/{secret}")
def accept(request: Request, anybody: Anybody, desk: DeskHere, form: Form, secret: str) -> Response:
    """Join what an invitation opens, with a new account for those who have none."""
    limited(request, "login")
    held, name = _invitation(desk, secret), word(form, "name").strip()
    problem = "" if anybody.person else _account_problem(form)
    if problem:
        return _invited(request, anybody, secret, held, name=name, status=400, problem=problem)
    hashed = "" if anybody.person else hash_password(word(form, "password"))
    try:
        return _accepted(request, anybody, desk, secret=secret, name=name, hashed=hashed)
    except Refused as refused:
        if refused.reason != "name_taken":
            raise
        problem = refused.reason
        return _invited(request, anybody, secret, held, name=name, status=400, problem=problem)


def _accepted(
    request: Request, anybody: Visitor, desk: Desk, *, secret: str, name: str, hashed: str
) -> Response:
    now = desk.clock()
    with desk.writing() as connection:
        invitations.invitation(connection, secret, now=now)
        person = anybody.person or accounts.add_person(
            connection, name, hashed, owner=False, now=now
        )
        opened = invitations.accept(connection, secret, person.id, now=now).grants
        target = f"/projects/{opened[0].project}/label" if len(opened) == 1 else "/"
        if anybody.person:
            return go_to(target)
        return _logged_in(request, desk, connection, person.id, to=target)


def _invitation(desk: Desk, secret: str) -> Invitation:
    with desk.reading() as connection:
        return invitations.invitation(connection, secret, now=desk.clock())


def _invited(
    request: Request,
    anybody: Visitor,
    secret: str,
    held: Invitation,
    *,
    name: str,
    status: int,
    problem: str = "",
) -> Response:
    return page(
        "invitation",
        request,
        anybody,
        status=status,
        secret=secret,
        grants=held.grants,
        name=name,
        problem=problem,
    )


def _account_problem(form: FormData) -> str:
    if not _NAME.fullmatch(word(form, "name").strip()):
        return "bad_name"
    return _password_problem(form)


def _logged_in(
    request: Request, desk: Desk, connection: Connection, person: int, *, to: str = "/"
) -> Response:
    secret = accounts.issue(
        connection, "session", now=desk.clock(), lifetime=SESSION_SECONDS, person=person
    )
    response = go_to(to)
    keep_session(request, response, secret)
    return response
