"""All questions of a project, searched by state, by who answered and by words."""

from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from palate.store.labelling import Desk, accounts, browse, items
from palate.store.labelling.browse import State, Wanted
from palate.web.pages import page
from palate.web.visitor import DeskHere, Inside, Reviewer
from palate.web.words import answer_words

router = APIRouter(prefix="/projects/{project}/questions")
STATES: tuple[State, ...] = get_args(State)
_LIMIT = 50
_MADE = 5
"""How many times 200 further groups become questions for one page."""


class Search(BaseModel):
    """What the form of the page says; `after` is the last position of the page before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State = "any"
    person: int = 0
    text: str = ""
    after: int | None = None


@router.get("")
def show(
    request: Request, here: Reviewer, desk: DeskHere, search: Annotated[Search, Query()]
) -> Response:
    """Only owners see who answered: reviewers decide without names."""
    owner = here.project.role == "owner"
    text = search.text.strip()[:200]
    wanted = Wanted(state=search.state, person=search.person if owner else 0, text=text)
    found = _found(desk, here, wanted, search.after)
    with desk.reading() as connection:
        members = accounts.members(connection, here.project.id) if owner else []
    return page(
        "questions",
        request,
        here.visitor,
        inside=here,
        wanted=wanted,
        states=STATES,
        members=members,
        rows=[(one, _answers(one, owner=owner)) for one in found.questions],
        following=_address(wanted, found.next) if found.next is not None else "",
    )


def _found(desk: Desk, here: Inside, wanted: Wanted, after: int | None) -> browse.Found:
    """A page of questions; those of groups that nobody was asked about yet are made first."""
    for _ in range(_MADE):
        with desk.reading() as connection:
            found = browse.questions(connection, here.project.id, wanted, after=after, limit=_LIMIT)
        if found.next is not None or wanted.state not in ("any", "unanswered", "open"):
            return found
        with desk.writing() as connection:
            if not items.enqueue(connection, here.project.id):
                return found
    return found


def _answers(question: browse.Question, *, owner: bool) -> list[tuple[str, str]]:
    return [
        (name if owner else f"#{number}", answer_words(answer, question.shown))
        for number, (name, answer) in enumerate(question.answers, 1)
    ]


def _address(wanted: Wanted, after: int) -> str:
    said = {"state": wanted.state, "person": wanted.person, "text": wanted.text, "after": after}
    return "?" + urlencode({name: value for name, value in said.items() if value})
