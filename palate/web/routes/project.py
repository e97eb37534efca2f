"""Settings: how a project is labelled, and its checks."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from palate.records import Answer, Choice, Group, LabelTask, Rating, user_prompt
from palate.records import Response as Written
from palate.store.labelling import Desk, items, review
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.pseudonyms import BY_OWNER
from palate.web.pages import go_to, page
from palate.web.strings import text
from palate.web.visitor import DeskHere, Form, Inside, Owner, whole, word, words

router = APIRouter(prefix="/projects/{project}")
_LISTS = ("dimensions", "reasons")


@router.get("/settings")
def settings(request: Request, here: Owner, desk: DeskHere, done: str = "") -> Response:
    """How the project is labelled; where nobody has said it yet, the page with which it begins."""
    done = done if done in ("saved_settings", "added") else ""
    return _settings(request, here, desk, values={}, done=done)


def _settings(
    request: Request,
    here: Inside,
    desk: Desk,
    *,
    values: Mapping[str, object],
    done: str = "",
    problem: str = "",
) -> Response:
    """The form with what is stored, or with `values` that somebody has just typed."""
    with desk.reading() as connection:
        task = items.task_of(connection, here.project.id)
        number = review.checks(connection, here.project.id)
        fixed = items.is_fixed(connection, here.project.id)
        first = not items.is_set_up(connection, here.project.id)
    return page(
        "settings",
        request,
        here.visitor,
        inside=here,
        status=400 if problem else 200,
        task={**task.model_dump(), **values},
        fixed=fixed,
        first=first,
        number_of_checks=number,
        done=done,
        problem=problem,
    )


@router.post("/settings")
def save(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """Change how the project is labelled; what the form leaves out stays."""
    values = _values(form)
    try:
        with desk.writing() as connection:
            first = not items.is_set_up(connection, here.project.id)
            before = items.task_of(connection, here.project.id)
            task = LabelTask.model_validate(before.model_dump() | values)
            items.save_task(connection, here.project.id, task)
            _note(connection, here, "settings", now=desk.clock())
    except ValidationError as error:
        wrong = error.errors()[0]
        problem = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        said = text("bad_settings", problem=problem)
        return _settings(request, here, desk, values=values, problem=said)
    except Refused as refused:
        if refused.reason != "kind_is_fixed":
            raise
        said = text(refused.reason)
        return _settings(request, here, desk, values=values, problem=said)
    if first:
        return go_to(f"/projects/{here.project.id}/label")
    return go_to(f"/projects/{here.project.id}/settings?done=saved_settings")


def _note(connection: Connection, here: Inside, action: str, *, now: float) -> None:
    audit(connection, action, at=now, project=here.project.id, person=here.person.id)


def _values(form: FormData) -> dict[str, object]:
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
    return values


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
