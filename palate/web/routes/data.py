"""Files into a project and out of it, for its owners."""

import re
import shutil
import tempfile
import threading
from io import StringIO
from pathlib import Path
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request
from rich.console import Console
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from palate.config.exchange import Format, Kind, Names
from palate.store import queries
from palate.store.errors import DataError
from palate.store.labelling import Desk
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.schema import GroupRow, JudgementRow
from palate.web import importing
from palate.web.pages import go_to, page
from palate.web.questions import conversation
from palate.web.uploads import SUFFIXES, Uploads
from palate.web.visitor import DeskHere, Form, Inside, Owner, Upload, word

router = APIRouter(prefix="/projects/{project}/data")
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES: tuple[Names, ...] = get_args(Names)
WHO = ("people", "models", "simulated", "imported", "all")
FILES = (".jsonl", ".jsonl.gz", ".parquet")
_MOST = 50_000
"""Groups, or judgements, that a browser may download."""
_one_export = threading.Lock()
Count = Annotated[int, Query(ge=0, le=10**9)]


@router.get("")
def show(
    request: Request, here: Owner, groups: Count | None = None, judgements: Count = 0
) -> Response:
    """The forms of both, and what has just been imported."""
    brought = None
    if groups is not None:
        brought = importing.Added(groups=groups, judgements=judgements)
    return _data(request, here, brought=brought)


def _data(
    request: Request,
    here: Inside,
    *,
    brought: importing.Added | None = None,
    problem: str = "",
    trouble: str = "",
) -> Response:
    return page(
        "data",
        request,
        here.visitor,
        inside=here,
        status=400 if problem or trouble else 200,
        formats=FORMATS,
        names=NAMES,
        judges=WHO,
        files=FILES,
        suffixes=SUFFIXES,
        brought=brought,
        problem=problem,
        trouble=trouble,
    )


@router.post("/uploads")
def upload(request: Request, here: Owner, form: Upload) -> Response:
    """Keep a file until its owner has seen what it would bring."""
    sent, kind = form.get("file"), word(form, "kind")
    if not isinstance(sent, UploadFile) or not sent.filename or kind not in get_args(Kind):
        return _data(request, here, problem="no_upload")
    try:
        secret = _uploads(request).keep(
            sent.filename, sent.file, project=here.project.id, person=here.person.id
        )
    except Refused as refused:
        return _data(request, here, problem=refused.reason)
    return go_to(f"/projects/{here.project.id}/data/uploads/{secret}?kind={kind}")


def _uploads(request: Request) -> Uploads:
    return request.app.state.uploads


def _path(request: Request, here: Inside, secret: str) -> Path:
    return _uploads(request).path(secret, project=here.project.id, person=here.person.id)


@router.get("/uploads/{secret}")
def preview(request: Request, here: Owner, secret: str, kind: Kind = "groups") -> Response:
    """What a file would bring, and what is wrong with it."""
    path = _path(request, here, secret)
    trouble, brought = None, None
    try:
        brought = importing.preview(path, kind)
    except DataError as error:
        trouble = error
    return page(
        "upload",
        request,
        here.visitor,
        inside=here,
        status=400 if trouble else 200,
        secret=secret,
        kind=kind,
        file=path.name,
        brought=brought,
        first=[(one, conversation(one.group.prompt)) for one in brought.first] if brought else [],
        trouble=trouble,
    )


@router.post("/uploads/{secret}")
def bring(request: Request, here: Owner, desk: DeskHere, form: Form, secret: str) -> Response:
    """Import a file whose preview was seen; its rows that cannot be used are left out."""
    kind: Kind = "preferences" if word(form, "kind") == "preferences" else "groups"
    path = _path(request, here, secret)
    try:
        added = importing.bring(desk, here.project.id, path, kind)
    except DataError as error:
        return _data(request, here, trouble=error.problem)
    _note(desk, here, "import", file=path.name, groups=added.groups, judgements=added.judgements)
    _uploads(request).forget(secret)
    counts = f"groups={added.groups}&judgements={added.judgements}"
    return go_to(f"/projects/{here.project.id}/data?{counts}")


def _note(desk: Desk, here: Inside, action: str, **detail: object) -> None:
    with desk.writing() as connection:
        project, person = here.project.id, here.person.id
        audit(connection, action, at=desk.clock(), project=project, person=person, detail=detail)


@router.post("/export")
def export(request: Request, here: Owner, desk: DeskHere, form: Form) -> Response:
    """What `palate export` writes, as one zip: the file, its manifest and its data card."""
    from palate.exchange.exporting import UNJUDGED, Selection, export_project  # scipy

    formats: dict[str, Format] = {one: one for one in FORMATS}
    namings: dict[str, Names] = {one: one for one in NAMES}
    format, names = formats.get(word(form, "format")), namings.get(word(form, "names"))
    judges, suffix = word(form, "judges"), word(form, "file")
    if format is None or names is None or judges not in WHO or suffix not in FILES:
        raise Refused("not_found")
    table = GroupRow if format in UNJUDGED else JudgementRow
    with desk.reading() as connection:
        if queries.last_position(connection, table, here.project.id) > _MOST:
            return _data(request, here, problem="export_too_large")
    if not _one_export.acquire(blocking=False):
        return _data(request, here, problem="export_busy")
    folder = Path(tempfile.mkdtemp(prefix="palate-export-"))
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{here.project.name}-{format}")
    selection = Selection(project=here.project.name, judges=(judges,), names=names)
    try:
        export_project(
            selection,
            format=format,
            out=folder / "export" / f"{name}{suffix}",
            url=desk.url,
            console=Console(file=StringIO()),
        )
        zipped = shutil.make_archive(str(folder / name), "zip", folder / "export")
    except DataError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return _data(request, here, trouble=error.problem)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        _one_export.release()
    _note(desk, here, "export", format=format, names=names, judges=judges)
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(
        zipped, media_type="application/zip", filename=f"{name}.zip", background=gone
    )
