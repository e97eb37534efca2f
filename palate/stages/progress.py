"""Progress that people see, and what stays of it: metrics, and rows that were left out."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from palate.stages.context import BAD_ROWS
from palate.stages.forecast import Pace, Rest
from palate.store.errors import DataError, Skipped
from palate.store.runs import StageDir

_HEADLINES = (
    "sft/nll",
    "reward/accuracy",
    "dpo/accuracy",
    "reward/score",
    "kl/policy_reference",
    "response/length",
)
_NAME_WIDTH = 18
_SECONDS = 30.0
"""How often a line is written where no bar is seen: on the first update, then as often, at last."""


def quiet_libraries() -> None:
    """Progress and errors are palate's own: libraries show no bars and warnings beside them."""
    import datasets
    import huggingface_hub
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()


class Voice:
    """What a run says: on the terminal, and line by line with the time in its log file."""

    def __init__(self, console: Console, log: Path) -> None:
        self.console, self.log = console, log
        self._told: set[str] = set()

    def __call__(self, text: str, style: str = "") -> None:
        """Say a line."""
        self._say(Text(text, style))

    def line(self, name: str, text: str) -> None:
        """Say a line about a stage."""
        self._say(Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), " ", text))

    def once(self, name: str, text: str) -> None:
        """Say a line that has not been said yet."""
        if text not in self._told:
            self._told.add(text)
            self.line(name, text)

    def write(self, text: str) -> None:
        """A line of the log file alone."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{now}  {text}\n")

    def _say(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)
        self.write(text.plain)


class StageMonitor:
    """Writes metrics.jsonl and moves a progress bar, or says lines where there is no terminal;
    resuming drops the metrics to be redone.

    `later` is what is known of the run's other stages: nothing for a stage that is run alone.
    """

    def __init__(
        self,
        name: str,
        folder: StageDir,
        voice: Voice,
        later: Rest | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.folder, self.voice, self.later = name, folder, voice, later
        self.clock, self.pace = clock, Pace(clock)
        self.progress = Progress(
            TextColumn("[bold]{task.description:<18}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[headline]}"),
            console=voice.console,
            transient=True,
            disable=not voice.console.is_terminal,
        )
        self.task = self.progress.add_task(name, total=None, headline="", left="")
        self.first = True
        self.said = -_SECONDS

    def __enter__(self) -> "StageMonitor":
        self.progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.stop()

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Step `step` (from 0) of `total` is done; nothing is written for an empty mapping."""
        if values:
            if self.first:
                self.folder.rewind(step)
                self.first = False
            self.folder.log(step, values)
        done = min(step + 1, total)
        headline = "  ".join(
            f"{name.split('/')[1]} {values[name]:.3f}" for name in _HEADLINES if name in values
        )
        left = self._left(done, total)
        self.progress.update(self.task, completed=done, total=total, headline=headline, left=left)
        now = self.clock()
        if done == total or now - self.said >= _SECONDS:
            self.said = now
            text = "  ".join(filter(None, (f"{done:,} of {total:,}", headline, left)))
            if self.voice.console.is_terminal:
                self.voice.write(f"{self.name:<{_NAME_WIDTH}} {text}")
            else:
                self.voice.line(self.name, text)

    def _left(self, done: int, total: int) -> str:
        """The time left of the stage, and of the run if more is to come."""
        seconds = self.pace.left(done, total)
        if seconds is None:
            return ""
        stage = Rest(seconds=seconds).text
        if self.later is None:
            return stage
        run = Rest(seconds=seconds + self.later.seconds, unknown=self.later.unknown)
        return f"{stage} (run: {run.text})"


class Speaker:
    """Says what people should know about a stage, in its name."""

    def __init__(self, name: str, voice: Voice) -> None:
        self.name, self.voice = name, voice

    def __call__(self, text: str) -> None:
        """One line, on the terminal and in the run's log."""
        self.voice(f"{self.name}: {text}", "yellow")


class LeftOut:
    """`BadRows` of a stage that skips them: the first is shown, the first few are written down."""

    def __init__(self, folder: StageDir, say: Speaker) -> None:
        self.folder, self.say = folder, say
        self.skipped = Skipped()
        self.long: int | None = None

    def __call__(self, error: DataError) -> None:
        """Count one bad row."""
        self.skipped(error)
        first = self.skipped.first
        if self.skipped.count == 1:
            self.say(f"leaves out rows that it cannot use. {error}")
        if self.skipped.count == len(first):
            self.folder.write_jsonl(BAD_ROWS, [as_row(one) for one in first])

    def too_long(self, count: int) -> None:
        """Count rows that are longer than allowed; none of them is a count as well."""
        self.long = count + (self.long or 0)

    def summary(self) -> dict[str, float]:
        """How many, said and counted, of each kind that was looked for or found."""
        counts = {} if self.long is None else {"left_out": float(self.long)}
        if self.long:
            self.say(f"left out {self.long:,} rows that are longer than allowed")
        if not self.skipped.count:
            return counts
        path = self.folder.path / BAD_ROWS
        self.say(f"left out {self.skipped.count:,} bad rows; the first are in {path}")
        return counts | {"bad_rows": float(self.skipped.count)}


def as_row(error: DataError) -> dict[str, object]:
    """Where a bad row is, what is wrong with it and what to do about it."""
    return {
        "file": error.source,
        "row": error.row,
        "field": error.field,
        "problem": error.problem,
        "remedy": error.remedy,
    }
