"""How long a run will still take: what was measured, and what was not is said to be unknown."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from palate.config.load import resolved_json
from palate.config.stages import Recipe
from palate.stages.machines import processor_name
from palate.store.runs import CONFIG, MANIFEST, stage_dirs


def measured_before(runs: Path, recipe: Recipe) -> dict[str, float]:
    """Seconds of the recipe's stages that finished in some run with the same name and settings on
    such a processor; the newest one counts."""
    found: dict[str, tuple[float, float]] = {}
    for folder in (one for run in sorted(runs.glob("*")) for one in stage_dirs(run)):
        name = folder.path.name.partition("-")[2]
        config = recipe.stages.get(name)
        if config is None or not folder.has_finished() or not (folder.path / CONFIG).is_file():
            continue
        took = folder.timing()
        here = bool(took.machines) and took.machines[-1].processor == processor_name()
        if here and folder.config_text() == resolved_json(config):
            finished_at = (folder.path / MANIFEST).stat().st_mtime
            found[name] = max(found.get(name, (0.0, 0.0)), (finished_at, took.seconds))
    return {name: seconds for name, (_, seconds) in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Seconds that are left as far as they are known, and how many stages nobody measured yet.

    >>> Rest(seconds=90.0, unknown=2).text
    '1 min 30 s left and 2 stages not measured yet'
    """

    seconds: float
    unknown: int = 0

    @property
    def text(self) -> str:
        """The rest in words."""
        from palate.evaluation.words import duration

        known = f"{duration(self.seconds)} left"
        if not self.unknown:
            return known
        return f"{known} and {stages(self.unknown)} not measured yet"


def stages(n: int) -> str:
    """A number of stages."""
    return "1 stage" if n == 1 else f"{n} stages"


def rest_of(names: Sequence[str], measured: Mapping[str, float], first: float = 0.0) -> Rest:
    """What these stages will take, after `first` seconds of another."""
    known = [measured[name] for name in names if name in measured]
    return Rest(seconds=first + sum(known), unknown=len(names) - len(known))


class Pace:
    """Seconds per update, from the updates that were made here; the first begins the count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._first: tuple[float, int] | None = None

    def left(self, done: int, total: int) -> float | None:
        """Seconds to the last update when `done` are made; None while none was measured."""
        now = self.clock()
        if self._first is None:
            self._first = now, done
        begun, before = self._first
        if done <= before:
            return None
        return (now - begun) / (done - before) * max(0, total - done)
