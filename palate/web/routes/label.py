"""One question at a time: show it, keep drafts, take the answer, undo."""

import math
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from palate.records import LabelTask
from palate.store.labelling import Desk, accounts, answers, comments, lease, own, review
from palate.store.labelling.answers import Assignment
from palate.store.labelling.checks import Feedback
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import is_set_up, task_of
from palate.web import forms
from palate.web.asking import fill
from palate.web.pages import go_to, page
from palate.web.questions import LETTERS, cards, conversation, leaking
from palate.web.visitor import Annotator, DeskHere, Form, Inside, whole, word

router = APIRouter(prefix="/projects/{project}")
_SHARED_END = 10
"""So many questions before the end nobody holds a second one."""


@router.get("/label")
def show(
    request: Request, here: Annotator, desk: DeskHere, told: str = "", voted: str = ""
) -> Response:
    """The person's current question, else the next one."""
    if here.project.role == "owner" and not _is_set_up(desk, here):
        return go_to(f"/projects/{here.project.id}/settings")
    asked, progress = _claimed(desk, here)
    if not asked and fill(desk, here.project.id):
        asked, progress = _claimed(desk, here)
    task = asked.task if asked else _task(desk, here)
    arena = task.compare == "policies"
    named = _named(desk, here, voted) if arena and voted else ()
    if not asked:
        return page(
            "finished",
            request,
            here.visitor,
            inside=here,
            progress=progress,
            arena=arena,
            named=named,
            later=_later(desk, here),
        )
    return question(request, here, asked, progress=progress, told=told, named=named)


def _later(desk: Desk, here: Inside) -> int:
    with desk.reading() as connection:
        return own.count_put_off(connection, here.project.id, here.person.id)


def _is_set_up(desk: Desk, here: Inside) -> bool:
    with desk.reading() as connection:
        return is_set_up(connection, here.project.id)


def _task(desk: Desk, here: Inside) -> LabelTask:
    with desk.reading() as connection:
        return task_of(connection, here.project.id)


def _named(desk: Desk, here: Inside, id: str) -> tuple[tuple[str, str], ...]:
    """(letter, policy) of a question that the person has voted on: never before."""
    with desk.reading() as connection:
        asked = answers.assignment(connection, here.project.id, here.person.id, id)
    if asked.state != "answered" or asked.purpose != "ordinary":
        return ()
    policies = [asked.group.responses[index].policy for index in asked.order]
    return tuple(zip(LETTERS, policies, strict=False))


@router.get("/assignments/{id}/ahead")
def ahead(request: Request, here: Annotator, desk: DeskHere, id: str) -> Response:
    """The question after this one, for a browser to keep ready; nothing (204) near the end, where
    somebody else could be left without a question."""
    person, project = here.person.id, here.project.id
    with desk.writing() as connection:
        progress = review.progress(connection, project, person)
        following = None
        if progress.remaining > _SHARED_END:
            following = lease.claim_ahead(connection, project, person, id, now=desk.clock())
        asked = answers.assignment(connection, project, person, following) if following else None
    if asked is None:
        return Response(status_code=204)
    return question(request, here, asked, progress=progress)


def _claimed(desk: Desk, here: Inside) -> tuple[Assignment | None, review.Progress]:
    person, project = here.person.id, here.project.id
    with desk.writing() as connection:
        if here.project.role == "owner":
            accounts.join(connection, project, person, "owner", now=desk.clock())
        id = lease.claim(connection, project, person, now=desk.clock())
        asked = answers.assignment(connection, project, person, id) if id else None
        return asked, review.progress(connection, project, person)


def question(
    request: Request,
    here: Inside,
    asked: Assignment,
    *,
    progress: review.Progress,
    told: str = "",
    named: tuple[tuple[str, str], ...] = (),
    problem: str = "",
    status: int = 200,
) -> Response:
    """The page of a question."""
    return page(
        "label",
        request,
        here.visitor,
        inside=here,
        status=status,
        asked=asked,
        cards=cards(asked),
        messages=conversation(asked.group.prompt),
        steps=forms.scale(asked.task),
        skips=forms.SKIPS,
        progress=progress,
        minutes=math.ceil(progress.remaining * progress.seconds_each / 60),
        named=named,
        told=told if told in ("right", "equal", "commented") or told in LETTERS else "",
        problem=problem,
    )


@router.post("/assignments/{id}")
def submit(request: Request, here: Annotator, desk: DeskHere, form: Form, id: str) -> Response:
    """Take an answer or a skip, and go on to the next question."""
    person, project = here.person.id, here.project.id
    if word(form, "action") == "later":
        return _put_off(here, desk, form, id)
    if word(form, "action") == "comment":
        return _commented(request, here, desk, form, id)
    with desk.writing() as connection:
        asked = answers.assignment(connection, project, person, id)
        try:
            answer = forms.read_answer(form, asked, now=desk.clock())
        except Refused as refused:
            progress = review.progress(connection, project, person)
            kept = replace(asked, draft=forms.read_draft(form))
            return question(
                request, here, kept, progress=progress, problem=refused.reason, status=400
            )
        feedback = answers.submit(
            connection,
            project,
            person,
            id,
            answer.model_copy(update={"flagged": leaking(asked)}),
            revision=whole(form, "revision", default=-1),
            now=desk.clock(),
        )
    return go_to(f"/projects/{project}/label{_told(asked, feedback)}")


def _commented(request: Request, here: Inside, desk: Desk, form: FormData, id: str) -> Response:
    """Tell the owners something, and show the question again with what is filled in."""
    person, project, problem = here.person.id, here.project.id, ""
    with desk.writing() as connection:
        asked = answers.assignment(connection, project, person, id)
        try:
            text = word(form, "comment")
            comments.comment(connection, project, person, id, text, now=desk.clock())
        except Refused as refused:
            problem = refused.reason
        progress = review.progress(connection, project, person)
    kept = replace(asked, draft=forms.read_draft(form))
    told = "" if problem else "commented"
    return question(request, here, kept, progress=progress, told=told, problem=problem)


def _put_off(here: Inside, desk: Desk, form: FormData, id: str) -> Response:
    with desk.writing() as connection:
        own.set_aside(
            connection,
            here.project.id,
            here.person.id,
            id,
            forms.read_draft(form),
            revision=whole(form, "revision", default=-1),
            now=desk.clock(),
        )
    return go_to(f"/projects/{here.project.id}/label")


def _told(asked: Assignment, feedback: Feedback | None) -> str:
    if feedback is None:
        return f"?voted={asked.id}" if asked.task.compare == "policies" else ""
    if feedback.agreed:
        return "?told=right"
    match feedback.preferred:
        case (best,):
            return f"?told={LETTERS[asked.order.index(best)]}"
        case _:
            return "?told=equal"


@router.post("/assignments/{id}/draft")
def draft(here: Annotator, desk: DeskHere, form: Form, id: str) -> Response:
    """Keep an unfinished answer."""
    with desk.writing() as connection:
        answers.save_draft(
            connection,
            here.project.id,
            here.person.id,
            id,
            forms.read_draft(form),
            revision=whole(form, "revision", default=-1),
        )
    return Response(status_code=204)


@router.post("/undo")
def undo(here: Annotator, desk: DeskHere, form: Form) -> Response:
    """Reopen the last question."""
    with desk.writing() as connection:
        answers.undo(connection, here.project.id, here.person.id, now=desk.clock())
    return go_to(f"/projects/{here.project.id}/label")
