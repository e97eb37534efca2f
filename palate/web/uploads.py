"""Uploaded files that wait to be imported: a few of bounded size, for an hour, in a folder of their
own that goes when the server does."""

import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from palate.store.labelling.errors import Refused

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Kinds of files that are no larger read than sent."""
_MOST = 8
_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file, and to whom it belongs."""

    path: Path
    project: int
    person: int
    at: float


class Uploads:
    """The files that wait; the oldest goes when there are more than eight."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="palate-uploads-")
        self._kept: dict[str, Upload] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def keep(self, name: str, data: IO[bytes], *, project: int, person: int) -> str:
        """Store a file under its own name, and give the secret by which it is found again."""
        path = Path(name.replace("\\", "/"))
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise Refused("bad_upload")
        secret = secrets.token_urlsafe(16)
        folder = Path(self._folder.name, secret)
        folder.mkdir()
        stored = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem)[:80]}{suffix}"
        with stored.open("wb") as file:
            shutil.copyfileobj(data, file)
        with self._lock:
            self._kept[secret] = Upload(
                path=stored, project=project, person=person, at=self._clock()
            )
            for old in list(self._kept)[:-_MOST]:
                self._remove(old)
        return secret

    def path(self, secret: str, *, project: int, person: int) -> Path:
        """Where a file of a person and a project is, while it waits."""
        with self._lock:
            for old, upload in list(self._kept.items()):
                if upload.at < self._clock() - _SECONDS:
                    self._remove(old)
            found = self._kept.get(secret)
        if found is None or (found.project, found.person) != (project, person):
            raise Refused("upload_over")
        return found.path

    def forget(self, secret: str) -> None:
        """Remove a file."""
        with self._lock:
            self._remove(secret)

    def _remove(self, secret: str) -> None:
        if gone := self._kept.pop(secret, None):
            shutil.rmtree(gone.path.parent, ignore_errors=True)
