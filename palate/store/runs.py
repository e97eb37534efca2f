"""Run directories: what a stage wrote, and a manifest that exists if and only if it finished."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

import palate
from palate.records import Record, content_id
from palate.records.machine import Machine
from palate.records.ratios import RatioCounts
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
from palate.store.origin import Begun, Change, Origin, changes

MANIFEST, CONFIG, METRICS = "manifest.json", "config.json", "metrics.jsonl"
TRUST, SAMPLES, TIMING = "trust.json", "samples.jsonl", "timing.json"
RATIOS = "ratios.jsonl"
CHECKPOINTS = "checkpoints"
LOG = "run.log"
"""What a run said, beside the folders of its stages."""
_BEGUN = "begun.json"
_NOT_OUTPUTS = (MANIFEST, _BEGUN, TIMING, f"{CHECKPOINTS}/")
"""Names (and folders) that say how a stage ran, not what it made."""
_MEASURED = (METRICS, TRUST, SAMPLES, RATIOS)

R = TypeVar("R", bound=Record)


class RunLocked(Exception):
    """Another process writes this run."""


class Manifest(Record):
    """What a finished stage was made from and what it wrote: `outputs` maps names to SHA-256.

    `resumed` says what was changed while it was made; it is empty for a stage that anybody makes
    again from its settings and inputs.
    """

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
    resumed: tuple[str, ...] = ()


class Timing(BaseModel):
    """Wall seconds, the processor's seconds over all cores, the largest resident set seen and what
    was expected of it (0: nothing was), and the machines it was made on, the last one last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    predicted_memory_mib: float = 0.0
    machines: tuple[Machine, ...] = ()


_METRIC_LINE = TypeAdapter(dict[str, float])


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
            return self.checked().fingerprint == fingerprint
        except DataError:
            return False

    def has_finished(self) -> bool:
        """Whether there is a manifest, whatever it says."""
        return (self.path / MANIFEST).is_file()

    def checked(self, below: str = "") -> Manifest:
        """The manifest, when the outputs (those whose names begin with `below`) are as it says."""
        manifest = self.manifest()
        named = {name: d for name, d in manifest.outputs.items() if name.startswith(below)}
        changed = [
            name
            for name, digest in named.items()
            if not (self.path / name).is_file() or sha256_file(self.path / name) != digest
        ]
        if changed:
            more = f" (nor {len(changed) - 1} more)" if changed[1:] else ""
            raise DataError(
                f"{changed[0]} is not what stage '{manifest.name}' wrote{more}",
                source=str(self.path),
                remedy=f"run {manifest.name} again, or copy the files elsewhere and name them "
                "there if they are what you want",
            )
        return manifest

    def content_hash(self) -> str:
        """Hash of what a finished stage made, which is there unchanged: later stages have it among
        their inputs.

        Metrics and the like are left out: they may hold speeds, and nothing is trained on them.
        """
        outputs = self.checked().outputs
        return content_id({n: digest for n, digest in outputs.items() if n not in _MEASURED})

    def changes(self, now: Origin) -> list[Change]:
        """What was otherwise when the stage finished; raises when it is not what it wrote."""
        manifest = self.checked()
        before = Origin(
            stage=manifest.stage,
            settings=json.loads(self.config_text()),
            inputs=manifest.inputs,
            seed=manifest.seed,
            code_version=manifest.code_version,
        )
        return changes(before, now)

    def begin(self, begun: Begun) -> None:
        """Write down what the stage begins, or goes on, with."""
        self.write_config(json.dumps(begun.origin.settings, sort_keys=True, separators=(",", ":")))
        write_text(self.path / _BEGUN, begun.model_dump_json(indent=1))

    def begun(self) -> Begun | None:
        """What the unfinished stage began with; None when it has not begun."""
        path = self.path / _BEGUN
        if not path.is_file():
            return None
        try:
            return Begun.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError("the file is damaged or old", source=str(path)) from error

    def saved_steps(self) -> int:
        """How many steps or updates the newest checkpoint has behind it; 0 without one."""
        names = [path.name for path in (self.path / CHECKPOINTS).glob("step-*")]
        return max((int(n.removeprefix("step-")) for n in names if n[5:].isdigit()), default=0)

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
        return [self._metric(row, line) for row, line in enumerate(self._metric_lines(), start=1)]

    def _metric(self, row: int, line: bytes) -> dict[str, float]:
        try:
            values = _METRIC_LINE.validate_json(line)
        except ValidationError as error:
            raise self._damaged(METRICS, row) from error
        if "step" not in values:
            raise self._damaged(METRICS, row)
        return values

    def _damaged(self, name: str, row: int = 0) -> DataError:
        remedy = f"remove that {'line' if row else 'file'} to go on without it"
        return DataError(
            "this is not what was written there",
            source=str(self.path / name),
            row=row,
            remedy="run the stage again" if self.has_finished() else remedy,
        )

    def trust(self) -> TrustRecord | None:
        """What an on-policy stage found out about itself; None for other stages."""
        path = self.path / TRUST
        try:
            return TrustRecord.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError as error:
            raise self._damaged(TRUST) from error

    def samples(self) -> list[Sample]:
        """What an on-policy stage answered to its watched prompts so far, by step."""
        return self._rows(SAMPLES, Sample)

    def ratios(self) -> list[RatioCounts]:
        """How far the steps of an on-policy stage moved its tokens, by step; none if none clips."""
        return self._rows(RATIOS, RatioCounts)

    def _rows(self, name: str, kind: type[R]) -> list[R]:
        path = self.path / name
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        found: list[R] = []
        for row, line in enumerate(filter(None, lines), start=1):
            try:
                found.append(kind.model_validate(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise self._damaged(name, row) from error
        return found

    def timing(self) -> Timing:
        """What the stage took so far; nothing where that was not written down or is damaged."""
        try:
            return Timing.model_validate_json((self.path / TIMING).read_bytes())
        except (FileNotFoundError, ValidationError):
            return Timing()

    def rewind(self, step: int) -> None:
        """Drop the metrics of this step and later ones: they are about to be computed again."""
        lines = self._metric_lines()
        steps = [self._metric(row, line)["step"] for row, line in enumerate(lines, start=1)]
        kept = [line for line, at in zip(lines, steps, strict=True) if at < step]
        write_bytes(self.path / METRICS, b"".join(kept))

    def _metric_lines(self) -> list[bytes]:
        path = self.path / METRICS
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [line for line in lines if line.endswith(b"\n")]

    def start_over(self) -> None:
        """An empty folder; what a finished stage made here is set aside until another finishes."""
        self._check_folder()
        if self.has_finished():
            self._drop_aside()
            self.path.rename(self._aside.path)
        self.clear()

    def give_up(self) -> None:
        """Leave nothing of a stage that failed before it made anything, and what was there before
        in its place."""
        if self.has_finished() or self.saved_steps() or (self.path / METRICS).is_file():
            return
        if self.path.is_dir():
            self.clear()
            self.path.rmdir()
        if self._aside.has_finished():
            self._aside.path.rename(self.path)

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
        if self.has_finished():
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
        resumed: Sequence[str] = (),
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
            resumed=tuple(resumed),
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


_NAME = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_STAGE_FOLDER = re.compile(r"\d{2,}-\w[\w.-]*", re.ASCII)


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    raise ValueError(
        f"'{name[:80]}' cannot name a folder: use letters, digits, '.', '_' and '-', at most 128"
    )


def stage_dirs(run: Path) -> list[StageDir]:
    """The folders of a run's stages that have begun, in order."""
    there = (path for path in sorted(run.glob("[0-9]*-*")) if path.is_dir())
    return [StageDir(path) for path in there if _STAGE_FOLDER.fullmatch(path.name)]


def check_path(path: Path) -> None:
    """Refuse a file or folder of a finished stage that is not what the stage wrote there.

    What lies elsewhere is nobody's but the user's.
    """
    for parent in (path.absolute(), *path.absolute().parents):
        stage = StageDir(parent)
        if not stage.has_finished() or not _STAGE_FOLDER.fullmatch(parent.name):
            continue
        try:
            stage.manifest()
        except DataError:  # a file of this name that another tool wrote
            continue
        below = path.absolute().relative_to(parent).as_posix()
        stage.checked("" if below == "." else below)


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
