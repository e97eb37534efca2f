"""The application: routes, headers, and what refusals look like."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from palate import __version__
from palate.store.labelling import Desk
from palate.store.labelling.errors import Refused
from palate.web.kept import Kept
from palate.web.pages import STATIC, go_to, page
from palate.web.routes import (
    account,
    api,
    data,
    label,
    leaderboard,
    live,
    own,
    people,
    project,
    quality,
    questions,
    review,
    run,
)
from palate.web.routes.api import AsciiJson
from palate.web.security import BehindTls, Front, Guard, RateLimits
from palate.web.strings import text
from palate.web.uploads import Uploads
from palate.web.visitor import COOKIE, LoginNeeded, Paused, Visitor, visitor

_STATUS = {
    "no_project": 404,
    "no_assignment": 404,
    "no_item": 404,
    "no_member": 404,
    "not_found": 404,
    "upload_over": 404,
    "not_allowed": 403,
    "bad_form": 403,
    "too_often": 429,
    "paused": 403,
    "not_yours_to_change": 403,
}


def create_app(
    desk: Desk, *, root: Path, limits: RateLimits | None = None, front: Front = "none"
) -> FastAPI:
    """The labelling app over a database, with the runs below `root`."""
    app = FastAPI(
        title="palate",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.desk = desk
    app.state.root = root
    app.state.limits = limits or RateLimits()
    app.state.boards = Kept[leaderboard.Board]()
    app.state.reports = Kept[quality.Statistics]()
    app.state.uploads = Uploads()
    app.add_middleware(Guard)
    if front == "tls-proxy":
        app.add_middleware(BehindTls)
    # Pages hold a token and what people send: compressing both would tell their secrets (BREACH).
    app.mount("/static", GZipMiddleware(StaticFiles(directory=STATIC)), "static")
    for part in (
        account,
        label,
        own,
        live,
        review,
        questions,
        quality,
        data,
        leaderboard,
        people,
        project,
        run,
    ):
        app.include_router(part.router, include_in_schema=False)
    app.include_router(api.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(LoginNeeded, _login)
    app.add_exception_handler(Paused, _paused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)
    return app


def _who(request: Request) -> Visitor:
    return visitor(request, request.app.state.desk)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if request.url.path.startswith("/api/"):
        later = {"Retry-After": "1"} if error.reason == "too_often" else None
        status = _STATUS.get(error.reason, 400)
        return AsciiJson({"detail": text(error.reason)}, status, later)
    return _problem(request, error.reason, _STATUS.get(error.reason, 400))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/api/"):
        return AsciiJson({"detail": error.detail}, error.status_code, error.headers)
    return _problem(request, "not_found", error.status_code)


def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if request.url.path.startswith("/api/"):
        wrong = [{"at": e["loc"], "problem": e["msg"]} for e in error.errors()]
        return AsciiJson({"detail": jsonable_encoder(wrong)}, 422)
    return _problem(request, "not_found", 404)


def _problem(request: Request, reason: str, status: int) -> Response:
    return page("problem", request, _who(request), status=status, reason=reason)


def _paused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Paused)
    return page("paused", request, _who(request), status=403, paused_in=error.project)


def _login(request: Request, error: Exception) -> Response:
    known = COOKIE in request.cookies
    return go_to("/login" if known or request.method == "GET" else "/")
