"""Progress that people see, and what stays of it: metrics, and rows that were left out."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from palate.stages.context import BAD_ROWS
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


def quiet_libraries() -> None:
    """Progress and errors are palate's own: libraries show no bars and warnings beside them."""
    import datasets
    import huggingface_hub
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()


class StageMonitor:
    """Writes metrics.jsonl and moves a progress bar; resuming drops the lines to be redone."""

    def __init__(self, name: str, folder: StageDir, console: Console) -> None:
        self.folder = folder
        self.progress = Progress(
            TextColumn("[bold]{task.description:<18}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[headline]}"),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task(name, total=None, headline="")
        self.first = True

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
        headline = "  ".join(
            f"{name.split('/')[1]} {values[name]:.3f}" for name in _HEADLINES if name in values
        )
        self.progress.update(self.task, completed=step + 1, total=total, headline=headline)


class Speaker:
    """Says what people should know about a stage, in its name."""

    def __init__(self, name: str, console: Console) -> None:
        self.name, self.console = name, console

    def __call__(self, text: str) -> None:
        """One line on the terminal."""
        self.console.print(Text(f"{self.name}: {text}", "yellow"), soft_wrap=True)


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
