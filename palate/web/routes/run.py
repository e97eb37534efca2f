"""How runs are doing, and their answers sent to people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from starlette.responses import Response

from palate.records import Group, LabelTask, PromptId
from palate.records.sample import Sample
from palate.store.labelling import accounts, items, sending
from palate.store.labelling.accounts import Project
from palate.store.labelling.errors import Refused
from palate.store.schema import Body
from palate.web import runs
from palate.web.pages import go_to, page
from palate.web.questions import conversation
from palate.web.runs import Source
from palate.web.visitor import DeskHere, Form, Inside, Owner, whole, word, words

router = APIRouter(prefix="/projects/{project}/run")


class Place(BaseModel):
    """What the page shows: a run, answers of one of its stages and of another one, to a prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = ""
    stage: str = ""
    beside: str = ""
    prompt: str = ""
    done: str = ""


@router.get("")
def show(
    request: Request, here: Owner, desk: DeskHere, place: Annotated[Place, Query()]
) -> Response:
    """What the stages of a run have written so far, and what they answered."""
    with desk.reading() as connection:
        owned = _owned(connection, here)
    folders = runs.run_folders(request.app.state.root, _names(here, owned))
    views = {view.name: view for view in map(runs.run_view, folders)}
    if place.run and place.run not in views:
        raise Refused("not_found")
    name = place.run or here.project.name
    known = _sources(folders)
    own = [one.name for one in known.values() if one.run == name]
    stage = place.stage if place.stage in own else (own or [""])[-1]
    beside = place.beside if place.beside in known else ""
    columns = [known[one] for one in dict.fromkeys((stage, beside)) if one]
    asked = runs.prompts(columns[0].samples()) if columns else {}
    chosen = PromptId(place.prompt) if place.prompt in asked else next(iter(asked), PromptId(""))
    shown = Place(run=name, stage=stage, beside=beside, prompt=chosen)
    return page(
        "run",
        request,
        here.visitor,
        inside=here,
        name=name,
        run=views.get(name),
        runs=list(views.values()),
        address=_address(here, shown),
        owned=owned,
        own=own,
        sources=list(known),
        place=shown,
        prompts=asked,
        messages=conversation(asked[chosen]) if chosen else (),
        columns=[(one.name, runs.stretches(one.samples(), chosen)) for one in columns],
        done=place.done if place.done in ("sent", "sent_before") else "",
    )


def _owned(connection: Connection, here: Inside) -> list[Project]:
    return [one for one in accounts.projects(connection, here.person) if one.role == "owner"]


def _sources(folders: Sequence[Path]) -> dict[str, Source]:
    return {one.name: one for folder in folders for one in runs.sources(folder)}


def _names(here: Inside, owned: Sequence[Project]) -> list[str] | None:
    """Whose runs a person sees: those of their own projects; the owner of all of it sees all."""
    return None if here.person.owner else [project.name for project in owned]


def _address(here: Inside, place: Place) -> str:
    said = {name: value for name, value in place.model_dump().items() if value}
    return f"/projects/{here.project.id}/run?{urlencode(said)}"


@router.post("/samples")
def send(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """Ask people about one answer, or about two to the same prompt."""
    with desk.writing() as connection:
        owned = _owned(connection, here)
        folders = runs.run_folders(request.app.state.root, _names(here, owned))
        known = _sources(folders)
        picked = [_picked(known, value) for value in dict.fromkeys(words(form, "sample"))]
        to = whole(form, "to", default=here.project.id)
        if to not in [project.id for project in owned]:
            raise Refused("not_allowed")
        group = question(items.task_of(connection, to), picked)
        source: Body = {"policies": [response.policy for response in group.responses]}
        new = sending.send(connection, to, here.person.id, group, source=source, now=desk.clock())
    fields = {name: word(form, name) for name in ("run", "stage", "beside", "prompt")}
    return go_to(_address(here, Place(done="sent" if new else "sent_before", **fields)))


def _picked(known: Mapping[str, Source], value: str) -> tuple[Source, Sample]:
    """The answer that a form names as RUN/STAGE/STEP/PROMPT."""
    name, _, rest = value.rpartition("/")
    name, _, step = name.rpartition("/")
    for sample in known[name].samples() if name in known else ():
        if (str(sample.step), sample.prompt.id) == (step, rest):
            return known[name], sample
    raise Refused("not_found")


def question(task: LabelTask, picked: Sequence[tuple[Source, Sample]]) -> Group:
    """The group that people are asked about; each answer's policy is its stage at its step.

    A single answer is rated alone, or compared with the first one of its stage to the prompt.
    """
    if not 1 <= len(picked) <= 2:
        raise Refused("pick_one_or_two")
    source, sample = picked[0]
    if len({one.prompt.id for _, one in picked}) > 1:
        raise Refused("two_prompts")
    if len(picked) == 1 and task.kind != "rating":
        first = next(one for one in source.samples() if one.prompt.id == sample.prompt.id)
        picked = [(source, first), (source, sample)]
    ordered = sorted(picked, key=lambda one: (one[0].name, one[1].step))
    texts = [one.response.text for _, one in ordered]
    if len(set(texts)) < len(texts):
        raise Refused("same_answer")
    responses = tuple(
        one.response.model_copy(update={"policy": f"{source.name}/step-{one.step}"})
        for source, one in ordered
    )
    return Group(prompt=sample.prompt, responses=responses)
