"""Run directories as pages show them: curves, alarms, and answers to watched prompts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from palate.config.common import KlConfig
from palate.records import Prompt, PromptId
from palate.records.sample import Sample
from palate.store.errors import DataError
from palate.store.runs import (
    CONFIG,
    MANIFEST,
    METRICS,
    SAMPLES,
    TRUST,
    StageDir,
    Written,
    stage_dirs,
)

if TYPE_CHECKING:
    from palate.evaluation.findings import Finding

_READ = (METRICS, CONFIG, TRUST, MANIFEST)
_LONGEST_METRICS = 4_000_000
_LONGEST_SAMPLES = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric: its last value, and its course as the points of a line in a box of 100 by 24."""

    metric: str
    last: str
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """What a stage has written so far, and what is wrong with it."""

    name: str
    finished: bool
    step: int
    curves: tuple[Curve, ...]
    alarms: "tuple[Finding, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run: its stages in order."""

    name: str
    stages: tuple[StageView, ...]

    @property
    def alarms(self) -> "list[tuple[str, Finding]]":
        """(stage, alarm), problems first."""
        found = [(stage.name, alarm) for stage in self.stages for alarm in stage.alarms]
        return sorted(found, key=lambda one: one[1].severity == "caution")

    @property
    def grave(self) -> bool:
        """Whether some alarm is a problem, not only a caution."""
        return any(alarm.severity == "problem" for _, alarm in self.alarms)

    @property
    def alive(self) -> bool:
        """Whether more is to come."""
        return bool(self.stages) and not self.stages[-1].finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A stage of a run that answered watched prompts; its name is `RUN/STAGE`."""

    run: str
    stage: str
    folder: StageDir

    @property
    def name(self) -> str:
        """How forms and policies name it."""
        return f"{self.run}/{self.stage}"

    def samples(self) -> tuple[Sample, ...]:
        """Its answers so far, by step."""
        return _samples(self.folder.path, self.folder.written(SAMPLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """An answer that stayed the same from one look to another; the numbers are the last one's."""

    first: int
    last: Sample


class _Steered(BaseModel):
    """Of a stage's settings, how the KL is controlled."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kl: KlConfig = KlConfig()


def run_folders(root: Path, names: Iterable[str] | None) -> list[Path]:
    """The folders of the runs of these names (None: of all runs) that are there, by name."""
    folder = root / "runs"
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    wanted = None if names is None else set(names)
    return [p for p in there if (wanted is None or p.name in wanted) and stage_dirs(p)]


def run_view(run: Path) -> RunView:
    """A run as it is now."""
    stages = (
        _stage(folder.path, tuple(folder.written(name) for name in _READ))
        for folder in stage_dirs(run)
    )
    return RunView(name=run.name, stages=tuple(stages))


@lru_cache(maxsize=512)
def _stage(path: Path, written: tuple[Written, ...]) -> StageView:
    """What a stage wrote; read again when a file has changed."""
    try:
        return _read_stage(StageDir(path))
    except (ValueError, DataError) as error:  # a damaged file of one stage does not hide the others
        ended, alarm = _finished(StageDir(path)), _unreadable(path, error)
        return StageView(name=path.name, finished=ended, step=0, curves=(), alarms=(alarm,))


def _finished(folder: StageDir) -> bool:
    return folder.written(MANIFEST).size > 0


def _unreadable(path: Path, error: Exception) -> "Finding":
    from palate.evaluation.findings import Finding

    return Finding(
        rule="damaged file",
        severity="problem",
        text=f"What {path.name} wrote cannot be read: {error}",
        remedy="Run the stage again.",
    )


def _read_stage(folder: StageDir) -> StageView:
    from palate.evaluation.alarms import alarms  # scipy: not at the start

    lines = folder.metrics() if folder.written(METRICS).size <= _LONGEST_METRICS else []
    begun = folder.written(CONFIG).size > 0
    steered = _Steered.model_validate_json(folder.config_text()) if begun else _Steered()
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    return StageView(
        name=folder.path.name,
        finished=_finished(folder),
        step=int(lines[-1]["step"]) if lines else 0,
        curves=tuple(_curve(n, [line[n] for line in lines if n in line]) for n in names),
        alarms=alarms(lines, kl=steered.kl, trust=folder.trust()),
    )


def _curve(metric: str, values: list[float]) -> Curve:
    finite = [value for value in values if math.isfinite(value)]
    thinned = finite[:: math.ceil(len(finite) / 120) or 1]
    low, high = (min(thinned), max(thinned)) if thinned else (0.0, 0.0)
    points = [
        f"{100 * i / (len(thinned) - 1):.1f},{22 - 20 * (value - low) / ((high - low) or 1):.1f}"
        for i, value in enumerate(thinned)
        if len(thinned) > 1
    ]
    return Curve(metric=metric, last=f"{values[-1]:.4g}", points=" ".join(points))


def sources(run: Path) -> list[Source]:
    """The stages of a run that answered watched prompts, in order."""
    return [
        Source(run=run.name, stage=folder.path.name, folder=folder)
        for folder in stage_dirs(run)
        if 0 < folder.written(SAMPLES).size <= _LONGEST_SAMPLES
    ]


@lru_cache(maxsize=64)
def _samples(path: Path, written: Written) -> tuple[Sample, ...]:
    return tuple(StageDir(path).samples())


def prompts(samples: Sequence[Sample]) -> dict[PromptId, Prompt]:
    """The watched prompts, by id."""
    return {sample.prompt.id: sample.prompt for sample in samples}


def stretches(samples: Sequence[Sample], prompt: PromptId) -> list[Stretch]:
    """The answers to one prompt over time; what did not change is there once."""
    found: list[Stretch] = []
    for sample in samples:
        if sample.prompt.id != prompt:
            continue
        same = found and found[-1].last.response.text == sample.response.text
        first = found.pop().first if same else sample.step
        found.append(Stretch(first=first, last=sample))
    return found
