"""`palate doctor`: whether this machine, and a recipe on it, will do what is meant."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from palate.config.common import StageConfig
from palate.config.load import database_url, resolved_json
from palate.config.stages import AnyStageConfig, Recipe
from palate.models.precision import pick_device
from palate.stages import loads
from palate.stages.context import StageContext, stage_seed
from palate.stages.doctor.blueprints import Blueprints, Case
from palate.stages.doctor.exams import examine
from palate.stages.doctor.machine import free_disk, free_memory, machine
from palate.stages.doctor.verdicts import (
    Exam,
    Finding,
    Level,
    T,
    attempt,
    counted,
    in_bytes,
    ok,
    problem,
    say,
    warning,
)
from palate.stages.memory import Memory
from palate.stages.pipeline import input_hashes, reading_of, skips_bad_rows
from palate.store.errors import DataError, Skipped, refuse
from palate.store.origin import fingerprint
from palate.store.runs import RunDir, StageDir, code_version

_TIGHT = 0.8  # of free memory: predictions are off by 15 %, and responses may grow


class Silent:
    """A monitor that nobody watches."""

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Nothing."""


class Visit:
    """One visit: prints verdicts as they come up and counts them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.counts: Counter[Level] = Counter()

    def hear(self, title: str, exam: Exam[T]) -> T | None:
        """Print a section; its result, None when it ended with a problem."""
        self.console.rule(f"[bold]{title}", align="left")
        rest = attempt(exam)
        while True:
            try:
                remark = next(rest)
            except StopIteration as end:
                return end.value
            if isinstance(remark, Finding):
                self.counts[remark.level] += 1
            say(remark, self.console)


def run(recipe: Recipe | None, *, root: Path, console: Console) -> bool:
    """Examine this machine and, if there is one, a recipe; True when nothing is a problem."""
    visit = Visit(console)
    visit.hear("this machine", machine(root))
    if recipe is not None:
        with tempfile.TemporaryDirectory(prefix="palate-doctor-") as scratch:
            _recipe(recipe, visit, root=root, scratch=Path(scratch))
    problems, warnings = visit.counts["problem"], visit.counts["warning"]
    console.print(
        f"[bold]{counted(problems, 'problem')}, {counted(warnings, 'warning')}[/]", highlight=False
    )
    return not problems


def _recipe(recipe: Recipe, visit: Visit, *, root: Path, scratch: Path) -> None:
    """Every stage in order; what `prepare` makes goes to `scratch`, nothing to the run."""
    process = psutil.Process().memory_info().rss
    finished: dict[str, Path] = {}
    artifacts: dict[str, Path] = {}
    contexts: dict[str, StageContext] = {}
    blueprints = Blueprints(recipe, contexts)
    responses: list[str] = []
    memories: dict[str, Memory] = {}
    run = RunDir(root / "runs", recipe.name)
    for index, (name, config) in enumerate(recipe.stages.items(), start=1):
        there = run.stage(index, name).path
        here = StageDir(scratch / there.name)
        context = contexts[name] = _context(recipe, name, here, artifacts, root=root)
        title = name if name == config.stage else f"{name} ({config.stage})"
        try:
            mark = _mark(config, context, finished)
        except DataError as error:
            visit.hear(title, _refused(error))
            continue
        if StageDir(there).is_finished(mark):
            finished[name] = artifacts[name] = there
            visit.hear(title, _skipped(there))
            continue
        case = Case(recipe=recipe, context=context, blueprints=blueprints, responses=responses)
        memory = visit.hear(title, examine(config, case))
        if memory:
            memories[name] = memory
        if here.path.is_dir():
            artifacts[name] = here.path
    if memories:
        visit.hear("memory and disk", _resources(recipe, memories, root, process))


def _context(
    recipe: Recipe, name: str, folder: StageDir, artifacts: Mapping[str, Path], *, root: Path
) -> StageContext:
    """What a run would give the stage, but for a folder of its own."""
    config = recipe.stages[name]
    return StageContext(
        name=name,
        folder=folder,
        seed=stage_seed(recipe.seed, name, config),
        monitor=Silent(),
        artifacts=artifacts,
        store_url=database_url(root),
        project=recipe.name,
        bad_rows=Skipped() if skips_bad_rows(config) else refuse,
        as_set=reading_of(config),
    )


def _mark(config: AnyStageConfig, context: StageContext, finished: Mapping[str, Path]) -> str:
    """The fingerprint under which a run would look for the finished stage."""
    inputs = input_hashes(config, finished, context.store_url)
    return fingerprint(config.stage, resolved_json(config), inputs, context.seed, code_version())


def _refused(error: DataError) -> Exam[None]:
    yield problem(f"{error.source}: {error.problem}", error.remedy)


def _skipped(folder: Path) -> Exam[None]:
    yield ok(f"finished before ({folder}); a run skips it")


def _resources(
    recipe: Recipe, memories: Mapping[str, Memory], root: Path, process: int
) -> Exam[None]:
    """The predicted peak of every training stage against what is free now."""
    yield _table(memories, process)
    fits = [
        _fits(name, memory.peak + before, recipe.stages[name])
        for (name, memory), before in zip(memories.items(), _left(memories), strict=True)
    ]
    yield from (finding for finding in fits if finding.level != "ok")
    if all(finding.level == "ok" for finding in fits):
        yield ok("every stage fits into the memory that is free now")
    saved, free = sum(memory.saved for memory in memories.values()), free_disk(root)
    text = f"models and checkpoints take up to {in_bytes(saved)} of disk; {in_bytes(free)} are free"
    yield ok(text) if saved < free else problem(text, "free some, or give another --root")


def _left(memories: Mapping[str, Memory]) -> list[float]:
    """What each stage finds in the process, from those before it."""
    before = list(memories.values())
    return [loads.left_by(before[:index]) for index in range(len(before))]


def _fits(name: str, peak: float, config: StageConfig) -> Finding:
    device = pick_device(config.compute.device)
    free = free_memory(device)
    need = f"{in_bytes(peak)} beside what the process holds"
    text = f"{name} needs about {need}; {in_bytes(free)} are free on {device}"
    remedy = "lower compute.micro_batch_tokens, set lora.rank, or take a smaller model"
    if peak > free:
        return problem(text, remedy)
    return warning(text, remedy) if peak > _TIGHT * free else ok(text)


def _table(memories: Mapping[str, Memory], process: int) -> Table:
    """MiB (GiB if large) by stage; a run's process holds what this one did, and what is left."""
    parts = {"grads": "gradients"}
    names = ("weights", "grads", "moments", "copies", "reward", "critic", "working", "kernels")
    large = max(memory.peak for memory in memories.values()) >= 10 * 2**30
    unit, power, digits = ("GiB", 30, 1) if large else ("MiB", 20, 0)
    table = Table(unit, *names, "process", "peak", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for (name, memory), left in zip(memories.items(), _left(memories), strict=True):
        sizes = [getattr(memory, parts.get(part, part)) for part in names]
        sizes += [process + left, process + left + memory.peak]
        table.add_row(name, *(f"{size / 2**power:,.{digits}f}" for size in sizes))
    return table
