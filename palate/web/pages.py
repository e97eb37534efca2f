"""Templates into responses."""

from pathlib import Path

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from palate.web import text
from palate.web.strings import text as string
from palate.web.visitor import COOKIE, SESSION_SECONDS, Inside, Visitor
from palate.web.wording import ago, did, span

STATIC = Path(__file__).parent / "static"
THEMES = ("light", "dark")

_templates = Environment(
    loader=PackageLoader("palate.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals |= {"t": string, "did": did}
_templates.filters |= {"ago": ago, "span": span}
_templates.filters |= {"rendered": text.rendered, "raw": text.raw}
_templates.filters |= {"inline": text.inline, "line": text.line}


def page(
    name: str,
    request: Request,
    visitor: Visitor,
    /,
    *,
    inside: Inside | None = None,
    status: int = 200,
    **values: object,
) -> Response:
    """A page for a visitor, inside a project or not."""
    theme = request.cookies.get("theme", "")
    html = _templates.get_template(f"{name}.html").render(
        visitor=visitor,
        person=visitor.person,
        project=inside and inside.project,
        role=inside.project.role if inside else "",
        has_run=inside is not None and _has_run(request, inside),
        theme=theme if theme in THEMES else "",
        path=request.url.path if request.method == "GET" else "/",
        here=name,
        **values,
    )
    response = HTMLResponse(html, status)
    if COOKIE not in request.cookies:
        keep_session(request, response, visitor.secret)
    return response


def _has_run(request: Request, inside: Inside) -> bool:
    """Whether there is a run for this person to see on the project's Run page."""
    folder: Path = request.app.state.root / "runs"
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    return inside.project.name in there or (inside.person.owner and bool(there))


def keep_session(request: Request, response: Response, secret: str) -> None:
    """Give the browser the secret of its session."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def go_to(path: str) -> Response:
    """Send the browser to a page of this server after a form."""
    return RedirectResponse(path, status_code=303)
