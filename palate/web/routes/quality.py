"""How well a project is labelled: agreement, speed and side, per annotator and over all."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.store.labelling import quality
from palate.web.pages import page
from palate.web.visitor import DeskHere, Reviewer

router = APIRouter(prefix="/projects/{project}")
_GROUPS = 500
_DRAWS = 100


@router.get("/quality")
def show(request: Request, here: Reviewer, desk: DeskHere) -> Response:
    """Counts over the newest answers, and statistics of the groups that people judged last.

    Only owners see how policies compare: reviewers decide blind.
    """
    from palate.evaluation.quality import power_sentence, quality_report  # scipy: not at the start

    with desk.reading() as connection:
        counted = quality.measure(connection, here.project.id)
        judged = quality.judged_by_people(connection, here.project.id, limit=_GROUPS)
    report = quality_report(judged, seed=0, draws=_DRAWS) if judged else None
    return page(
        "quality",
        request,
        here.visitor,
        inside=here,
        quality=counted,
        report=report,
        skill={a.judge.partition(":")[2]: a for a in report.annotators} if report else {},
        needed=power_sentence(0.55),
        groups=_GROUPS,
    )
