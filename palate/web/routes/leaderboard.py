"""Which policy people prefer: ratings with what they leave open."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from palate.store import queries
from palate.store.labelling import Desk, items, quality
from palate.store.labelling.errors import Refused
from palate.store.schema import JudgementRow
from palate.web.kept import Kept
from palate.web.pages import page
from palate.web.visitor import Annotator, DeskHere

if TYPE_CHECKING:
    from palate.evaluation.quality import PolicyRating

router = APIRouter(prefix="/projects/{project}")
_GROUPS = 5000
_DRAWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The policies from best to worst, how many votes that rests on, and what is wrong with it.

    Bars and whiskers are places from 0 to 100 on one scale of Elo points from `low` to `high`.
    """

    ratings: "tuple[PolicyRating, ...]"
    warnings: tuple[str, ...]
    votes: int
    low: float
    high: float

    def place(self, elo: float) -> str:
        """Where a number of Elo points is on the scale."""
        return f"{100 * (elo - self.low) / ((self.high - self.low) or 1):.2f}"


def board(desk: Desk, project: int) -> Board:
    """The leaderboard of what people said last."""
    from palate.evaluation.ballots import ballots  # scipy: not at the start
    from palate.evaluation.quality import rate_policies

    with desk.reading() as connection:
        judged = quality.judged_by_people(connection, project, limit=_GROUPS)
    cast = ballots(judged)
    ratings, warnings = rate_policies(cast, seed=0, draws=_DRAWS)
    return Board(
        ratings=ratings,
        warnings=warnings,
        votes=len(cast.policy_votes().first),
        low=min((one.elo.low for one in ratings), default=0.0),
        high=max((one.elo.high for one in ratings), default=0.0),
    )


@router.get("/leaderboard")
def show(request: Request, here: Annotator, desk: DeskHere) -> Response:
    """The ratings, for owners; in an arena for everybody, because votes name the policies."""
    project = here.project.id
    with desk.reading() as connection:
        task = items.task_of(connection, project)
        version = queries.last_position(connection, JudgementRow, project)
    if here.project.role != "owner" and task.compare != "policies":
        raise Refused("not_allowed")
    kept: Kept[Board] = request.app.state.boards
    shown = kept.get(project, version, lambda: board(desk, project))
    return page("leaderboard", request, here.visitor, inside=here, board=shown, groups=_GROUPS)
