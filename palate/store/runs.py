"""Run directories: what a stage wrote, and a manifest that exists if and only if it finished."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

import palate
from palate.records import Record, content_id
from palate.records.sample import Sample
from palate.records.trust import TrustRecord
from palate.store.errors import DataError
from palate.store.files import (
    files_below,
    is_temporary,
    json_line,
    remove,
    remove_temporary,
    sha256_file,
    write_bytes,
    write_text,
)
from palate.store.formats.write import write_rows

MANIFEST, CONFIG, METRICS = "manifest.json", "config.json", "metrics.jsonl"
TRUST, SAMPLES = "trust.json", "samples.jsonl"
CHECKPOINTS = "checkpoints"
_NOT_OUTPUTS = (MANIFEST, "begun.json", "timing.json", f"{CHECKPOINTS}/")
"""Names (and folders) that say how a stage ran, not what it made."""
_MEASURED = (METRICS, TRUST, SAMPLES)


class RunLocked(Exception):
    """Another process writes this run."""


class Manifest(Record):
    """What a finished stage was made from and what it wrote: `outputs` maps names to SHA-256."""

    stage: str
    name: str
    fingerprint: str
    config_hash: str
    inputs: dict[str, str]
    code_version: str
    source_hash: str
    seed: int
    outputs: dict[str, str]
    summary: dict[str, float]


def code_version() -> str:
    """The version of palate; the fingerprint holds it, so that an upgrade runs stages again.

    An edited source file does not: days of training are not thrown away for a changed message.
    Which sources made a stage is in its manifest, as `source_hash`.
    """
    return palate.__version__


@cache
def source_hash() -> str:
    """SHA-256 over the package's Python files, in hex."""
    root = Path(palate.__file__).parent
    sources = [name for name in files_below(root) if name.endswith(".py")]
    listing = "".join(f"{sha256_file(root / name)} {name}\n" for name in sources)
    return hashlib.sha256(listing.encode()).hexdigest()


def fingerprint(
    stage: str, config_json: str, inputs: Mapping[str, str], seed: int, code_version: str
) -> str:
    """Content hash of all that decides what a stage makes; it holds no time and no place.

    >>> one = fingerprint("sft", '{"lr": 1e-3, "epochs": 2}', {}, 0, "0.1.0")
    >>> one == fingerprint("sft", '{"epochs": 2, "lr": 0.001}', {}, 0, "0.1.0")
    True
    """
    return content_id([stage, json.loads(config_json), dict(inputs), seed, code_version])


class Written(NamedTuple):
    """When a file was written last, in nanoseconds, and its bytes; 0 and 0 where it is not."""

    at: int
    size: int


class StageDir:
    """The folder of one stage of a run, `runs/<run>/<nn>-<name>/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self) -> Manifest:
        """The manifest; a stage that has not finished has none, and that is an error."""
        path = self.path / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            problem, remedy, cause = "the stage has not finished", "run it to its end", error
        except ValidationError as error:
            problem, remedy, cause = "the manifest is damaged or old", "run the stage again", error
        raise DataError(problem, source=str(self.path), remedy=remedy) from cause

    def is_finished(self, fingerprint: str) -> bool:
        """Whether the stage finished with this fingerprint and its outputs are still the same."""
        try:
            manifest = self.manifest()
        except DataError:
            return False
        return manifest.fingerprint == fingerprint and all(
            (self.path / name).is_file() and sha256_file(self.path / name) == digest
            for name, digest in manifest.outputs.items()
        )

    def content_hash(self) -> str:
        """Hash of what a finished stage made: later stages have it among their inputs.

        Metrics and the like are left out: they may hold speeds, and nothing is trained on them.
        """
        outputs = self.manifest().outputs
        return content_id({n: digest for n, digest in outputs.items() if n not in _MEASURED})

    def write_config(self, json_text: str) -> None:
        """Write the stage's resolved configuration."""
        write_text(self.path / CONFIG, json_text)

    def config_text(self) -> str:
        """The stage's resolved configuration, as JSON."""
        return (self.path / CONFIG).read_text(encoding="utf-8")

    def written(self, name: str) -> Written:
        """What tells one version of a file from another."""
        path = self.path / name
        if not path.is_file():
            return Written(0, 0)
        stat = path.stat()
        return Written(stat.st_mtime_ns, stat.st_size)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_text(self._inside(name), text)

    def write_json(self, name: str, value: object) -> None:
        """Write a plain value as JSON."""
        write_text(self._inside(name), json_line(value) + "\n")

    def write_jsonl(self, name: str, rows: Iterable[Record | dict[str, object]]) -> int:
        """Write rows as JSON Lines and count them."""
        plain = (row.model_dump(mode="json") if isinstance(row, Record) else row for row in rows)
        return write_rows(self._inside(name), plain)

    def folder(self, name: str) -> Path:
        """A folder inside; it is made."""
        path = self._inside(name)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _inside(self, name: str) -> Path:
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()) or name == MANIFEST:
            raise ValueError(f"'{name}' does not name a file that a stage may write")
        return path

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line of metrics; a line that a crash cut short is dropped first."""
        assert "step" not in values
        line = {"step": step} | {name: float(value) for name, value in values.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / METRICS).open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read(1) not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json_line(line).encode() + b"\n")

    def metrics(self) -> list[dict[str, float]]:
        """Every logged line in order: `step` and the metrics of that step."""
        lines = (json.loads(line) for line in self._metric_lines())
        return [{name: float(value) for name, value in line.items()} for line in lines]

    def trust(self) -> TrustRecord | None:
        """What an on-policy stage found out about itself; None for other stages."""
        path = self.path / TRUST
        return TrustRecord.model_validate_json(path.read_bytes()) if path.is_file() else None

    def samples(self) -> list[Sample]:
        """What an on-policy stage answered to its watched prompts so far, by step."""
        path = self.path / SAMPLES
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return [Sample.model_validate(json.loads(line)) for line in lines]

    def rewind(self, step: int) -> None:
        """Drop the metrics of this step and later ones: they are about to be computed again."""
        kept = [line for line in self._metric_lines() if json.loads(line)["step"] < step]
        write_bytes(self.path / METRICS, b"".join(kept))

    def _metric_lines(self) -> list[bytes]:
        path = self.path / METRICS
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [line for line in lines if line.endswith(b"\n")]

    def start_over(self) -> None:
        """An empty folder; what a finished stage made here is set aside until another finishes."""
        self._check_folder()
        if (self.path / MANIFEST).is_file():
            self._drop_aside()
            self.path.rename(self._aside.path)
        self.clear()

    def take_back(self, fingerprint: str) -> bool:
        """Whether what was set aside has this fingerprint; then it is in its place again."""
        aside = self._aside
        if not aside.is_finished(fingerprint):
            return False
        self.clear()
        self.path.rmdir()
        aside.path.rename(self.path)
        return True

    @property
    def _aside(self) -> "StageDir":
        return StageDir(self.path.with_name(f".{self.path.name}.before"))

    def drop_leftovers(self) -> None:
        """Remove what a finished stage needs no more: checkpoints, and what it has replaced."""
        if (self.path / MANIFEST).is_file():
            shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
            self._drop_aside()

    def _drop_aside(self) -> None:
        if self._aside.path.is_dir():
            shutil.rmtree(self._aside.path)

    def _check_folder(self) -> None:
        if not _STAGE_FOLDER.fullmatch(self.path.name) or self.path.is_symlink():
            raise ValueError(f"'{self.path}' is not the folder of a stage; nothing was removed")

    def clear(self) -> None:
        """An empty folder, the manifest removed first."""
        self._check_folder()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / MANIFEST).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            remove(entry)

    def finish(
        self,
        *,
        stage: str,
        name: str,
        seed: int,
        fingerprint: str,
        inputs: Mapping[str, str],
        summary: Mapping[str, float],
    ) -> Manifest:
        """Hash the outputs and write the manifest, which is the last thing a stage does."""
        manifest = Manifest(
            stage=stage,
            name=name,
            fingerprint=fingerprint,
            config_hash=sha256_file(self.path / CONFIG),
            inputs=dict(inputs),
            code_version=code_version(),
            source_hash=source_hash(),
            seed=seed,
            outputs={file: sha256_file(self.path / file) for file in self._outputs()},
            summary={key: float(value) for key, value in summary.items()},
        )
        write_text(self.path / MANIFEST, json_line(manifest.model_dump(mode="json")) + "\n")
        self._drop_aside()
        return manifest

    def _outputs(self) -> list[str]:
        return [
            name
            for name in files_below(self.path)
            if not name.startswith(_NOT_OUTPUTS) and not is_temporary(name)
        ]


_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_STAGE_FOLDER = re.compile(r"\d{2,}-\w[\w.-]*", re.ASCII)


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    raise ValueError(f"'{name}' cannot name a folder: use letters, digits, '.', '_' and '-'")


def stage_dirs(run: Path) -> list[StageDir]:
    """The folders of a run's stages that have begun, in order."""
    there = (path for path in sorted(run.glob("[0-9]*-*")) if path.is_dir())
    return [StageDir(path) for path in there if _STAGE_FOLDER.fullmatch(path.name)]


class RunDir:
    """The folder of a run, `<root>/<name>`: reading needs nothing, writing needs the lock.

    >>> RunDir(Path("runs"), "cafe").stage(3, "judge").path.as_posix()
    'runs/cafe/03-judge'
    """

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / _checked_name(name)

    def stage(self, index: int, name: str) -> StageDir:
        """The folder of the stage with this number and name."""
        return StageDir(self.path / f"{index:02d}-{_checked_name(name)}")

    @contextmanager
    def lock(self) -> Generator[None]:
        """Keep other processes from writing this run, until the block or this process ends.

        What killed ones left half-written, or had no time to remove, goes first.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise RunLocked(
                    f"process {file.read() or '(starting)'} is writing run '{self.path}': "
                    "wait for it, stop it, or choose another name for this run"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            remove_temporary(self.path)
            for stage in stage_dirs(self.path):
                stage.drop_leftovers()
            yield
