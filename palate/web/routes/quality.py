"""How well a project is labelled: agreement, speed and side, per annotator and over all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.store import queries
from palate.store.labelling import Desk, quality
from palate.store.pseudonyms import BY_PERSON
from palate.store.schema import JudgementRow
from palate.web import asking
from palate.web.kept import Kept
from palate.web.pages import page
from palate.web.strings import text
from palate.web.visitor import DeskHere, Reviewer

if TYPE_CHECKING:
    from palate.evaluation.asking import ArmResult
    from palate.evaluation.quality import QualityReport

router = APIRouter(prefix="/projects/{project}")
_GROUPS = 500
_DRAWS = 100
_POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the page shows; there is no report before people judged something."""

    counted: quality.Quality
    report: "QualityReport | None"
    arms: "tuple[ArmResult, ...]"


def statistics(desk: Desk, project: int) -> Statistics:
    """Counts over the newest answers, and statistics of the groups that people judged last."""
    from palate.evaluation.quality import quality_report  # scipy: not at the start

    with desk.reading() as connection:
        counted = quality.measure(connection, project)
        judged = quality.judged_by_people(connection, project, limit=_GROUPS)
    report = quality_report(judged, seed=0, draws=_DRAWS) if judged else None
    return Statistics(counted=counted, report=report, arms=asking.arms(desk, project))


@router.get("/quality")
def show(
    request: Request, here: Reviewer, desk: DeskHere, expected: str = "55", ties: str = "20"
) -> Response:
    """Only owners see how policies compare: reviewers decide blind."""
    project = here.project.id
    with desk.reading() as connection:
        version = queries.last_position(connection, JudgementRow, project)
    kept: Kept[Statistics] = request.app.state.reports
    shown = kept.get(project, version, lambda: statistics(desk, project))
    report = shown.report
    return page(
        "quality",
        request,
        here.visitor,
        inside=here,
        quality=shown.counted,
        report=report,
        warnings=_warnings(report) if here.project.role == "owner" and report else (),
        arms=[(one, _verdict(one)) for one in shown.arms],
        skill={a.judge.partition(":")[2]: a for a in report.annotators} if report else {},
        needed=_needed(expected, ties),
        expected=expected,
        ties=ties,
        groups=_GROUPS,
    )


def _warnings(report: "QualityReport") -> tuple[str, ...]:
    """What to look at first, with people by the names with which they log in."""
    return tuple(warning.replace(BY_PERSON, "") for warning in report.warnings)


def _verdict(arm: "ArmResult") -> str:
    if arm.lead is None:
        return "arm_control" if arm.arm == "random" else "arm_alone"
    if arm.lead.low > 0:
        return "arm_above"
    return "arm_below" if arm.lead.high < 0 else "arm_open"


def _needed(expected: str, ties: str) -> str:
    """How many pairs to label, or what is wrong with the question."""
    from palate.maths.statistics import sample_size

    try:
        rate, tied = float(expected) / 100, float(ties) / 100
    except ValueError:
        return text("power_out_of_range")
    if not (0.505 <= rate <= 0.99 and 0 <= tied <= 0.95):
        return text("power_out_of_range")
    decided = sample_size(rate, _POWER)
    asked = -(-decided // (1 - tied))
    return text("power_needed", rate=f"{100 * rate:g}", decided=decided, asked=int(asked))
