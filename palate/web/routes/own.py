"""One's own answers: look at them again, correct them, and come back to what was put off."""

from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.records import Answer
from palate.store.labelling import answers, own, review
from palate.store.labelling.assignments import Assignment, is_decided
from palate.store.labelling.errors import Refused
from palate.web import forms
from palate.web.pages import go_to, page
from palate.web.questions import cards, conversation
from palate.web.routes.label import question
from palate.web.visitor import Annotator, DeskHere, Form, Inside, whole
from palate.web.words import answer_words, as_form

router = APIRouter(prefix="/projects/{project}/answers")
_LIMIT = 50
_FIRST = 2**31 - 1


@router.get("")
def show(request: Request, here: Annotator, desk: DeskHere, before: int = _FIRST) -> Response:
    """What the person answered, newest first, and what they put off."""
    project, person = here.project.id, here.person.id
    with desk.reading() as connection:
        given = own.own_answers(connection, project, person, before=before, limit=_LIMIT + 1)
        later = own.put_off(connection, project, person, limit=_LIMIT)
    return page(
        "answers",
        request,
        here.visitor,
        inside=here,
        later=later,
        answered=[
            (one, answer_words(one.answer, one.order)) for one in given[:_LIMIT] if one.answer
        ],
        following=given[_LIMIT - 1].number if len(given) > _LIMIT else 0,
    )


@router.get("/{id}")
def look(request: Request, here: Annotator, desk: DeskHere, id: str) -> Response:
    """One of them, with what was said filled in."""
    with desk.reading() as connection:
        asked, said = own.said(connection, here.project.id, here.person.id, id)
        decided = is_decided(connection, here.project.id, asked.item)
    return _answer(request, here, asked, said, decided=decided)


def _answer(
    request: Request,
    here: Inside,
    asked: Assignment,
    said: Answer,
    *,
    decided: bool,
    problem: str = "",
    status: int = 200,
) -> Response:
    stands = "decided_meanwhile" if decided else ""
    if asked.task.compare == "policies":
        stands = "no_undo_in_arena"
    return page(
        "answer",
        request,
        here.visitor,
        inside=here,
        status=status,
        asked=replace(asked, draft=as_form(said, asked.task, asked.order)),
        cards=cards(asked),
        messages=conversation(asked.group.prompt),
        steps=forms.scale(asked.task),
        said=answer_words(said, asked.order),
        stands=stands,
        problem=problem,
    )


@router.post("/{id}")
def correct(request: Request, here: Annotator, desk: DeskHere, form: Form, id: str) -> Response:
    """Say something else than before."""
    project, person, now = here.project.id, here.person.id, desk.clock()
    with desk.writing() as connection:
        asked, said = own.said(connection, project, person, id)
        try:
            answer = forms.read_correction(form, asked)
        except Refused as refused:
            return _answer(
                request, here, asked, said, decided=False, problem=refused.reason, status=400
            )
        revision = whole(form, "revision", default=-1)
        own.correct(connection, project, person, id, answer, revision=revision, now=now)
    return go_to(f"/projects/{project}/answers")


@router.post("/{id}/resume")
def resume(here: Annotator, desk: DeskHere, form: Form, id: str) -> Response:
    """Take up a question that was put off, unless others have answered it meanwhile."""
    with desk.writing() as connection:
        there = own.come_back(connection, here.project.id, here.person.id, id, now=desk.clock())
    if not there:
        raise Refused("answered_meanwhile")
    return go_to(f"/projects/{here.project.id}/answers/{id}/resumed")


@router.get("/{id}/resumed")
def resumed(request: Request, here: Annotator, desk: DeskHere, id: str) -> Response:
    """A question that was taken up again, as it was left."""
    project, person = here.project.id, here.person.id
    with desk.reading() as connection:
        asked = answers.assignment(connection, project, person, id)
        progress = review.progress(connection, project, person)
    if asked.state != "open":
        return go_to(f"/projects/{project}/label")
    return question(request, here, asked, progress=progress)
