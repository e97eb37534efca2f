"""JSON for programs: groups in, judgements in and out, by a token that is good for one project.

Described at `/api/openapi.json`. A token reads, or reads and writes; its judgements carry its name.
"""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from palate.records import Group, Judgement, speaks_of
from palate.store import queries
from palate.store.errors import DataError
from palate.store.labelling import accounts
from palate.store.labelling.accounts import Token
from palate.store.labelling.items import project_name
from palate.store.schema import GroupRow, JudgementRow
from palate.web.messages import MOST, Added, Mistakes, NewGroups, NewJudgements, Page, Problem
from palate.web.visitor import DeskHere, limited

BY_PROGRAM = "api:"
"""The prefix of the judges that are programs."""
_bearer = HTTPBearer(auto_error=False, description="A token from the project's People page.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class AsciiJson(JSONResponse):
    """JSON that can carry every stored text: half of a surrogate pair only exists as an escape."""

    def render(self, content: object) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


router = APIRouter(
    prefix="/api/projects/{project}",
    tags=["projects"],
    default_response_class=AsciiJson,
    responses={
        400: {
            "model": Problem,
            "description": "No JSON, or a judgement about nothing that is here",
        },
        401: {"model": Problem, "description": "The token is missing or not valid"},
        403: {"model": Problem, "description": "The token does not allow that"},
        404: {"model": Problem, "description": "The token is for another project"},
        422: {"model": Mistakes, "description": "The request does not fit this description"},
        429: {"model": Problem, "description": "Too many requests in a minute"},
    },
)


def reader(request: Request, project: int, desk: DeskHere, bearer: Bearer) -> Token:
    """The token of a request, which has to be one of the project."""
    with desk.reading() as connection:
        secret = bearer.credentials if bearer else ""
        held = accounts.token(connection, "api", secret, now=desk.clock())
        if held and not accounts.owns(connection, held.made_by, held.project or 0):
            held = None  # a token may no more than whoever made it
    if held is None:
        limited(request, "login", f"api {request.client.host if request.client else ''}")
        raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})
    limited(request, "read", held.hash)
    if held.project != project:
        raise HTTPException(404, "no such project")
    return held


Reader = Annotated[Token, Depends(reader)]


def writer(request: Request, held: Reader) -> Token:
    """The same, for a token that may write."""
    if held.role != "write":
        raise HTTPException(403, "this token only reads")
    limited(request, "change", held.hash)
    return held


Writer = Annotated[Token, Depends(writer)]
After = Annotated[int, Query(ge=0, le=2**31 - 1)]


@router.get("/groups")
def groups(project: int, held: Reader, desk: DeskHere, after: After = 0) -> Page[Group]:
    """Groups in the order in which they were added."""
    with desk.reading() as connection:
        last = queries.last_position(connection, GroupRow, project)
        to = min(after + MOST, last)
        found = queries.group_page(connection, project, after, to)
    return Page[Group](records=tuple(found), next=to if to < last else 0)


@router.post("/groups")
def add_groups(project: int, held: Writer, desk: DeskHere, new: NewGroups) -> Added:
    """Add groups; people are asked about them."""
    with desk.writing() as connection:
        name = project_name(connection, project)
        return Added(added=queries.insert_groups(connection, name, new.groups))


@router.get("/judgements")
def judgements(project: int, held: Reader, desk: DeskHere, after: After = 0) -> Page[Judgement]:
    """Judgements that no other one supersedes, in the order in which they were added."""
    with desk.reading() as connection:
        last = queries.last_position(connection, JudgementRow, project)
        to = min(after + MOST, last)
        found = queries.judgement_page(connection, project, after, to)
    return Page[Judgement](records=tuple(found), next=to if to < last else 0)


@router.post("/judgements")
def add_judgements(project: int, held: Writer, desk: DeskHere, new: NewJudgements) -> Added:
    """Add judgements about groups of the project, in the token's name."""
    judge = {"judge": f"{BY_PROGRAM}{held.name}"}
    said = [judgement.model_copy(update=judge) for judgement in new.judgements]
    if any(judgement.supersedes for judgement in said):
        raise HTTPException(403, "only people take judgements back, on the pages")
    with desk.writing() as connection:
        name = project_name(connection, project)
        sizes = queries.group_sizes(connection, project, {judgement.group_id for judgement in said})
        for judgement in said:
            size = sizes.get(judgement.group_id)
            if size and not speaks_of(judgement, size):
                raise HTTPException(400, f"group {judgement.group_id} has no such responses")
        try:
            count = queries.insert_judgements(connection, name, said, client_keys={})
        except DataError as error:
            raise HTTPException(400, str(error)) from error
    return Added(added=count)
