"""Progress that people see, and metrics that stay: one line per stage while it runs."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from palate.store.runs import StageDir

_HEADLINES = (
    "sft/nll",
    "reward/accuracy",
    "dpo/accuracy",
    "reward/score",
    "kl/policy_reference",
    "response/length",
)


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
