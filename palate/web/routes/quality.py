"""How well a project is labelled: agreement, speed and side, per annotator and over all."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.store.labelling import quality
from palate.web.pages import page
from palate.web.visitor import DeskHere, Reviewer

router = APIRouter(prefix="/projects/{project}")


@router.get("/quality")
def show(request: Request, here: Reviewer, desk: DeskHere) -> Response:
    """The last few thousand answers, summed up."""
    with desk.reading() as connection:
        found = quality.measure(connection, here.project.id)
    return page("quality", request, here.visitor, inside=here, quality=found)
