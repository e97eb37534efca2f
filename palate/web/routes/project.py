"""What owners do: how a project is labelled, and by whom."""

import re

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from palate.records import Answer, Choice, Group, LabelTask, Rating, user_prompt
from palate.records import Response as Written
from palate.store.labelling import accounts, items, review
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.pseudonyms import BY_OWNER
from palate.web.pages import go_to, page
from palate.web.visitor import RANKS, DeskHere, Form, Inside, Owner, whole, word, words

router = APIRouter(prefix="/projects/{project}")
_INVITATION_SECONDS = 7 * 24 * 3600.0
_TOKEN_SECONDS = 365 * 24 * 3600.0
_SCOPES = ("read", "write")
_LISTS = ("dimensions", "reasons")


@router.get("/settings")
def settings(request: Request, here: Owner, desk: DeskHere, done: str = "") -> Response:
    """How the project is labelled."""
    with desk.reading() as connection:
        task = items.task_of(connection, here.project.id)
        number = review.checks(connection, here.project.id)
    return _settings(request, here, task, number, done=done)


def _settings(
    request: Request,
    here: Inside,
    task: LabelTask,
    number: int,
    *,
    done: str = "",
    problem: str = "",
) -> Response:
    return page(
        "settings",
        request,
        here.visitor,
        inside=here,
        status=400 if problem else 200,
        task=task,
        number_of_checks=number,
        done=done if done in ("saved_settings", "added") else "",
        problem=problem,
    )


@router.post("/settings")
def save(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """Change how the project is labelled."""
    with desk.writing() as connection:
        before = items.task_of(connection, here.project.id)
        number = review.checks(connection, here.project.id)
        try:
            items.save_task(connection, here.project.id, _task(form))
            _note(connection, here, "settings", now=desk.clock())
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            return _settings(request, here, before, number, problem=problem)
    return go_to(f"/projects/{here.project.id}/settings?done=saved_settings")


def _note(connection: Connection, here: Inside, action: str, *, now: float) -> None:
    audit(connection, action, at=now, project=here.project.id, person=here.person.id)


def _task(form: FormData) -> LabelTask:
    values: dict[str, object] = {}
    for name in LabelTask.model_fields:
        if name in form:
            value = word(form, name)
            lines = tuple(line.strip() for line in value.splitlines() if line.strip())
            values[name] = lines if name in _LISTS else value
    if "arms" in form:
        values["arms"] = tuple(arm for arm in words(form, "arms") if arm)
    if "steps" in values:
        values["steps"] = whole(form, "steps", default=0)
    return LabelTask.model_validate(values)


@router.post("/checks")
def add_check(here: Owner, desk: DeskHere, form: Form) -> Response:
    """Add a question with an obvious answer."""
    asked, right, wrong = (word(form, name).strip() for name in ("prompt", "right", "wrong"))
    if not (asked and right and wrong):
        raise Refused("choose_first")
    author = f"{BY_OWNER}{here.person.name}"
    answers = (Written(text=right, policy=author), Written(text=wrong, policy=author))
    with desk.writing() as connection:
        task = items.task_of(connection, here.project.id)
        verdict = Choice(chosen=0)
        if task.kind == "rating":
            verdict = Rating(dimension=task.dimensions[0], values=(5, 1))
        group = Group(prompt=user_prompt(asked), responses=answers)
        known = Answer(verdicts=(verdict,), seconds=0)
        review.add_attention(
            connection, here.project.id, here.person.id, group, known, now=desk.clock()
        )
    return go_to(f"/projects/{here.project.id}/settings?done=added")


@router.get("/people")
def people(request: Request, here: Owner, desk: DeskHere) -> Response:
    """Members, open invitations and what happened."""
    return _people(request, here, desk)


def _people(
    request: Request, here: Inside, desk: DeskHere, *, link: str = "", token: str = ""
) -> Response:
    with desk.reading() as connection:
        members = accounts.members(connection, here.project.id)
        now = desk.clock()
        open_ = accounts.tokens(connection, "invitation", now=now, project=here.project.id)
        programs = accounts.tokens(connection, "api", now=now, project=here.project.id)
        history = accounts.history(connection, here.project.id, limit=30)
    return page(
        "people",
        request,
        here.visitor,
        inside=here,
        members=members,
        invitations=open_,
        history=[(now - at, who, what) for at, who, what in history],
        programs=programs,
        link=link,
        token=token,
    )


@router.post("/invitations")
def invite(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """A link that lets one person join; it is shown once."""
    role = word(form, "role")
    if role not in RANKS:
        raise Refused("not_allowed")
    with desk.writing() as connection:
        secret = accounts.issue(
            connection,
            "invitation",
            now=desk.clock(),
            lifetime=_INVITATION_SECONDS,
            project=here.project.id,
            role=role,
            name=role,
        )
        _note(connection, here, f"invite {role}", now=desk.clock())
    return _people(request, here, desk, link=f"{request.base_url}invitations/{secret}")


@router.post("/invitations/{hash}/withdraw")
def withdraw(here: Owner, desk: DeskHere, form: Form, hash: str) -> Response:
    """Make an invitation worthless."""
    with desk.writing() as connection:
        accounts.revoke(connection, hash, "invitation", project=here.project.id)
        _note(connection, here, "withdraw invitation", now=desk.clock())
    return go_to(f"/projects/{here.project.id}/people")


@router.post("/tokens")
def make_token(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """A token for a program; it is shown once."""
    scope, name = word(form, "scope"), word(form, "name").strip()
    if scope not in _SCOPES or not re.fullmatch(r"[\w.\-]{1,64}", name):
        raise Refused("bad_name")
    with desk.writing() as connection:
        secret = accounts.issue(
            connection,
            "api",
            now=desk.clock(),
            lifetime=_TOKEN_SECONDS,
            person=here.person.id,
            project=here.project.id,
            role=scope,
            name=name,
        )
        _note(connection, here, f"token {scope}", now=desk.clock())
    return _people(request, here, desk, token=secret)


@router.post("/tokens/{hash}/withdraw")
def withdraw_token(here: Owner, desk: DeskHere, form: Form, hash: str) -> Response:
    """Make a token worthless."""
    with desk.writing() as connection:
        accounts.revoke(connection, hash, "api", project=here.project.id)
        _note(connection, here, "withdraw token", now=desk.clock())
    return go_to(f"/projects/{here.project.id}/people")


@router.post("/people/{member}/{state}")
def change(here: Owner, desk: DeskHere, form: Form, member: int, state: str) -> Response:
    """Pause a member, or let one go on."""
    if state not in ("active", "paused"):
        raise Refused("not_found")
    with desk.writing() as connection:
        review.change_state(
            connection, here.project.id, member, state, by=here.person.id, now=desk.clock()
        )
    return go_to(f"/projects/{here.project.id}/people")
