"""A person asks the policies of an arena something, waits, and votes on what they answered."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.store.labelling import accounts, answers, items, live, review
from palate.store.labelling.errors import Refused
from palate.web.pages import go_to, page
from palate.web.routes.label import question
from palate.web.visitor import Annotator, DeskHere, Form, Inside, word

router = APIRouter(prefix="/projects/{project}")
_PATIENCE = 20.0
"""Seconds after which the page says that perhaps nobody answers."""


@router.get("/live")
def ask(request: Request, here: Annotator, desk: DeskHere) -> Response:
    """The form for a prompt."""
    with desk.reading() as connection:
        if items.task_of(connection, here.project.id).compare != "policies":
            raise Refused("no_arena")
    return _form(request, here)


def _form(
    request: Request, here: Inside, *, text: str = "", problem: str = "", status: int = 200
) -> Response:
    return page(
        "live",
        request,
        here.visitor,
        inside=here,
        status=status,
        text=text,
        problem=problem,
        longest=live.LONGEST,
    )


@router.post("/live")
def put(request: Request, here: Annotator, desk: DeskHere, form: Form) -> Response:
    """Put a prompt to the policies."""
    project, text = here.project.id, word(form, "prompt")
    try:
        with desk.writing() as connection:
            if here.project.role == "owner":
                accounts.join(connection, project, here.person.id, "owner", now=desk.clock())
            id = live.put(connection, project, here.person.id, text, now=desk.clock())
    except Refused as refused:
        if refused.reason != "prompt_length":
            raise
        return _form(request, here, text=text, problem=refused.reason, status=400)
    return go_to(f"/projects/{project}/live/{id}")


@router.get("/live/{id}")
def wait(request: Request, here: Annotator, desk: DeskHere, id: str) -> Response:
    """The prompt while it waits; then the question about its answers, until that has its vote."""
    project, person = here.project.id, here.person.id
    with desk.reading() as connection:
        asked = live.own(connection, project, person, id)
        if asked.assignment:
            given = answers.assignment(connection, project, person, asked.assignment)
            progress = review.progress(connection, project, person)
    if asked.problem:
        text = asked.prompt.messages[-1].content
        return _form(request, here, text=text, problem=asked.problem)
    if not asked.assignment:
        long = desk.clock() - asked.asked_at > _PATIENCE
        return page("waiting", request, here.visitor, inside=here, asked=asked, long=long)
    if given.state not in ("open", "expired"):
        return go_to(f"/projects/{project}/label?voted={given.id}")
    return question(request, here, given, progress=progress)
