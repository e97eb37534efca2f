"""Where annotators disagree: reviewers see what was said and decide."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.responses import Response

from palate.records import Answer
from palate.store.labelling import accounts, comments, review, sending
from palate.store.labelling.assignments import Assignment, is_decided
from palate.store.labelling.comments import Comment
from palate.store.labelling.errors import Refused
from palate.store.labelling.lease import CHECKS
from palate.web import forms
from palate.web.pages import go_to, page
from palate.web.questions import cards, conversation
from palate.web.visitor import DeskHere, Form, Inside, Reviewer, word
from palate.web.words import answer_words

router = APIRouter(prefix="/projects/{project}/disagreements")
_LIMIT = 50


@router.get("")
def queue(request: Request, here: Reviewer, desk: DeskHere) -> Response:
    """The questions that wait for a decision."""
    with desk.reading() as connection:
        found = review.disagreements(connection, here.project.id, limit=_LIMIT)
    rows = [(d.item, d.group.prompt.text[:200], len(d.answers), d.open) for d in found]
    return page("disagreements", request, here.visitor, inside=here, rows=rows)


@router.get("/{item}")
def show(request: Request, here: Reviewer, desk: DeskHere, item: int) -> Response:
    """One of them."""
    with desk.reading() as connection:
        asked = review.question(connection, here.project.id, item, now=desk.clock())
        said = review.item_answers(connection, here.project.id, item)
        stands = _stands(connection, asked)
        told = comments.comments(connection, here.project.id, asked.group.id)
    return _question(request, here, asked, said, stands=stands, told=told)


def _question(
    request: Request,
    here: Inside,
    asked: Assignment,
    said: tuple[tuple[str, Answer], ...],
    *,
    stands: str = "",
    told: Sequence[Comment] = (),
    problem: str = "",
    status: int = 200,
) -> Response:
    return page(
        "decide",
        request,
        here.visitor,
        inside=here,
        status=status,
        asked=asked,
        cards=cards(asked),
        messages=conversation(asked.group.prompt),
        steps=forms.scale(asked.task),
        said=[(who, answer_words(answer, asked.order), answer) for who, answer in said],
        stands=stands,
        comments=told,
        problem=problem,
    )


def _stands(connection: Connection, asked: Assignment) -> str:
    """Why there is nothing to decide, if there is nothing."""
    if asked.purpose in CHECKS:
        return "is_check"
    return "is_decided" if is_decided(connection, asked.project, asked.item) else ""


@router.post("/{item}/comments/{id}")
def settle(here: Reviewer, desk: DeskHere, form: Form, item: int, id: int) -> Response:
    """Mark what somebody told the owners as dealt with."""
    with desk.writing() as connection:
        comments.settle(connection, here.project.id, id, person=here.person.id, now=desk.clock())
    return go_to(f"/projects/{here.project.id}/disagreements/{item}")


@router.post("/{item}/again")
def ask_again(here: Reviewer, desk: DeskHere, form: Form, item: int) -> Response:
    """Ask one more person, before all other questions."""
    with desk.writing() as connection:
        sending.ask_again(connection, here.project.id, here.person.id, item, now=desk.clock())
    return go_to(f"/projects/{here.project.id}/disagreements")


@router.post("/{item}")
def decide(request: Request, here: Reviewer, desk: DeskHere, form: Form, item: int) -> Response:
    """Replace what was said by a decision."""
    project, person, now = here.project.id, here.person.id, desk.clock()
    with desk.writing() as connection:
        if here.project.role == "owner":
            accounts.join(connection, project, person, "owner", now=now)
        asked = review.question(connection, project, item, now=now)
        try:
            answer = forms.read_answer(form, asked, now=now)
        except Refused as refused:
            said = review.item_answers(connection, project, item)
            return _question(request, here, asked, said, problem=refused.reason, status=400)
        review.adjudicate(connection, project, person, item, answer, now=now)
        if word(form, "gold"):
            review.make_check(connection, project, person, item, answer, now=now)
    return go_to(f"/projects/{project}/disagreements")
