"""Running stages: resolve what they read, skip what is finished, resume what is not."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from palate.config.common import ReadingConfig, StageConfig
from palate.config.load import database_url, resolved_json
from palate.config.objectives import sentences
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.presets import stage_of
from palate.config.render import to_toml
from palate.config.stages import EvaluateConfig, Recipe, ReportConfig
from palate.feedback.functions import parse_function
from palate.models.names import local_path
from palate.records import content_id
from palate.records.machine import Machine
from palate.records.trust import TRUST_REMEDY, complaint
from palate.stages.begun import Onward, taken_up
from palate.stages.context import (
    EVALUATION,
    PROJECT,
    RECIPE,
    StageContext,
    check_finished,
    stage_seed,
)
from palate.stages.forecast import Rest, measured_before, rest_of, stages
from palate.stages.machines import this_machine
from palate.stages.progress import LeftOut, Speaker, StageMonitor, Voice, quiet_libraries
from palate.stages.resources import Stopwatch, release_memory
from palate.store.errors import DataError, refuse
from palate.store.files import sha256_file, sha256_tree, write_text
from palate.store.formats import AS_IT_IS, Reading
from palate.store.lines import MIB, Limits
from palate.store.origin import Begun, Origin
from palate.store.runs import (
    LOG,
    TIMING,
    RunDir,
    StageDir,
    Timing,
    check_path,
    code_version,
    stage_dirs,
)

READS = {
    "auxiliary_data",
    "baseline",
    "corpus",
    "data",
    "evaluation",
    "function",
    "groups",
    "judge",
    "model",
    "models",
    "preferences",
    "prompts",
    "reward",
    "reward_model",
    "sources",
}
"""Settings that name a stage, a file, a folder or a function; what they name is hashed."""

ONE_LOOP = ("ppo", "grpo", "reinforce", "rloo", "online_dpo")
"""The stages that are `onpolicy.run`; every other one is a module of its own name."""


def runner_of(stage: str) -> Callable[[Any, StageContext], dict[str, float]]:
    """The function that runs a stage; torch and what comes with it are imported here, so that
    what can be refused without them is refused at once."""
    module = import_module(f"palate.stages.{'onpolicy' if stage in ONE_LOOP else stage}")
    quiet_libraries()
    return module.run


def run_recipe(recipe: Recipe, *, root: Path, console: Console, onward: Onward = "ask") -> Path:
    """Run every stage of a recipe in order; finished ones with the same inputs are skipped.

    The run keeps the recipe with its overrides, to be run again from there.
    """
    run = RunDir(root / "runs", recipe.name)
    artifacts: dict[str, Path] = {}
    voice = Voice(console, run.path / LOG)
    with run.lock():
        write_text(run.path / RECIPE, to_toml(recipe))
        measured = measured_before(root / "runs", recipe)
        names = list(recipe.stages)
        foretell(rest_of(names, measured), len(names), voice)
        for index, (name, config) in enumerate(recipe.stages.items(), start=1):
            folder = run.stage(index, name)
            seed = stage_seed(recipe.seed, name, config)
            later = rest_of(names[index:], measured) if names[index:] else None
            run_one(
                name,
                config,
                folder,
                seed,
                artifacts,
                root=root,
                voice=voice,
                onward=onward,
                later=later,
            )
            artifacts[name] = folder.path
    for name, config in recipe.stages.items():
        show_result(config, artifacts[name], console)
    return run.path


def foretell(rest: Rest, total: int, voice: Voice) -> None:
    """Say what a run takes where that is known from runs before."""
    if rest.unknown < total:
        from palate.evaluation.words import duration

        text = f"{stages(total - rest.unknown)} of {total} took {duration(rest.seconds)} before"
        voice.line("time", text)


def check_home(path: Path, recipe: Recipe, *, root: Path) -> None:
    """Refuse the recipe that a run keeps where it would begin another run without a word."""
    home, target = path.resolve().parent, (root / "runs" / recipe.name).resolve()
    if path.name == RECIPE and stage_dirs(home) and home != target and not stage_dirs(target):
        raise DataError(
            f"it is the recipe of the run in {home}, and would begin a new one in {target}",
            source=str(path),
            remedy=f"to go on there: --root {home.parent.parent} name={home.name}; for a new run, "
            "copy the recipe to another place",
        )


def show_result(config: StageConfig, folder: Path, console: Console) -> None:
    """What people look for when a run ends: the table of an evaluation, the place of a report."""
    if isinstance(config, EvaluateConfig):
        from palate.evaluation.results import Evaluation
        from palate.evaluation.tables import summary_table
        from palate.stages.report import cost

        text = (folder / EVALUATION).read_bytes()
        there = ((name, StageDir(path)) for name, (_, path) in stage_folders(folder.parent).items())
        costs = [cost(name, stage) for name, stage in there if stage.has_finished()]
        console.print(summary_table(Evaluation.model_validate_json(text), costs))
    elif isinstance(config, ReportConfig):
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def run_stage(
    name: str,
    config: StageConfig,
    *,
    run: str,
    seed: int,
    root: Path,
    console: Console,
    number: int = 0,
    onward: Onward = "ask",
) -> Path:
    """Run one stage into a run; `@name` refers to the stages that have finished there.

    Its folder keeps the number that it has; a new one gets `number`, or the next when that is 0.
    """
    directory = RunDir(root / "runs", run)
    with directory.lock():
        existing = stage_folders(directory.path)
        following = 1 + max((taken for taken, _ in existing.values()), default=0)
        index = existing[name][0] if name in existing else number or following
        folder = directory.stage(index, name)
        artifacts = {
            other: path
            for other, (_, path) in existing.items()
            if other != name and StageDir(path).has_finished()
        }
        own_seed = stage_seed(seed, name, config)
        voice = Voice(console, directory.path / LOG)
        run_one(name, config, folder, own_seed, artifacts, root=root, voice=voice, onward=onward)
        show_result(config, folder.path, console)
    return folder.path


def stage_folders(run: Path) -> dict[str, tuple[int, Path]]:
    """(number, folder) of every stage of a run by its name."""
    found: dict[str, tuple[int, Path]] = {}
    for folder in stage_dirs(run):
        number, _, name = folder.path.name.partition("-")
        found[name] = (int(number), folder.path)
    return found


def run_one(
    name: str,
    config: StageConfig,
    folder: StageDir,
    seed: int,
    artifacts: Mapping[str, Path],
    *,
    root: Path,
    voice: Voice,
    onward: Onward,
    later: Rest | None = None,
) -> None:
    """Skip, resume or run one stage; one that fails before it made anything leaves nothing."""
    store_url = database_url(root)
    for reference in named_in(config):
        check_finished(reference, artifacts)
    origin = Origin(
        stage=stage_of(type(config)),
        settings=json.loads(resolved_json(config)),
        inputs=input_hashes(config, artifacts, store_url),
        seed=seed,
        code_version=code_version(),
    )

    try:
        unit = "step" if isinstance(config, AnyOnPolicyConfig) else "update"
        begun = taken_up(folder, origin, onward, unit=unit, say=Speaker(name, voice))
        if begun is None:
            voice.line(name, "finished before, skipped")
            return
        make(name, config, folder, begun, artifacts, store_url=store_url, voice=voice, later=later)
    except BaseException as error:
        folder.give_up()
        with suppress(OSError):  # a full disk, which is perhaps the error itself
            voice.write(f"{name}: stopped: {str(error) or type(error).__name__}")
        raise


def make(
    name: str,
    config: StageConfig,
    folder: StageDir,
    begun: Begun,
    artifacts: Mapping[str, Path],
    *,
    store_url: str,
    voice: Voice,
    later: Rest | None,
) -> None:
    """Run a stage from where it stands to its end; the manifest is written last."""
    origin = begun.origin
    run = runner_of(origin.stage)
    machine = this_machine(config.compute.device)
    voice.once("machine", machine.text)
    if isinstance(config, AnyOnPolicyConfig):
        for sentence in sentences(config):
            voice.line(name, sentence)
    say = Speaker(name, voice)
    left_out = LeftOut(folder, say)
    with StageMonitor(name, folder, voice, later) as monitor, Stopwatch() as watch:
        context = StageContext(
            name=name,
            folder=folder,
            seed=origin.seed,
            monitor=monitor,
            artifacts=artifacts,
            store_url=store_url,
            project=folder.path.parent.name,
            bad_rows=left_out if skips_bad_rows(config) else refuse,
            left_out=left_out.too_long,
            as_set=reading_of(config),
            expect=watch.expect,
            say=say,
        )
        try:
            summary = run(config, context) | left_out.summary()
        finally:
            usage = save_timing(folder, watch, machine)
    folder.finish(
        stage=origin.stage,
        name=name,
        seed=origin.seed,
        fingerprint=origin.fingerprint,
        inputs=origin.inputs,
        summary=summary,
        resumed=begun.resumed,
    )
    folder.drop_leftovers()
    release_memory()
    voice.line(name, f"{usage.seconds:6.1f} s   {headline(summary)}{took(usage)}")
    warn_of_misses(name, folder, voice)
    warn_of_equal_rewards(name, folder, voice)


def warn_of_misses(name: str, folder: StageDir, voice: Voice) -> None:
    """Say aloud which of a stage's checks of itself do not hold."""
    trust = folder.trust()
    for check in trust.missed if trust else ():
        text = f"{name}: WARNING: {complaint(check)}. {TRUST_REMEDY}"
        voice(text, "bold red")


def warn_of_equal_rewards(name: str, folder: StageDir, voice: Voice) -> None:
    """Say aloud that no group of a whole run had rewards to compare."""
    dead = [m["group/dead_fraction"] for m in folder.metrics() if "group/dead_fraction" in m]
    if dead and min(dead) == 1.0:
        text = (
            f"{name}: WARNING: in every step the responses to each prompt all had the same reward, "
            "so nothing was learned from it. Remedy: palate doctor tries the reward on references "
            "and responses; else begin with a policy that succeeds now and then"
        )
        voice(text, "bold red")


def skips_bad_rows(config: StageConfig) -> bool:
    """Whether a stage goes on after rows that cannot be read."""
    return isinstance(config, ReadingConfig) and config.bad_rows == "skip"


def reading_of(config: StageConfig) -> Reading:
    """How a stage reads its files."""
    if not isinstance(config, ReadingConfig):
        return AS_IT_IS
    row, unpacked = config.limits.row_mib * MIB, config.limits.unpacked_mib * MIB
    return Reading(columns=config.columns, limits=Limits(row=row, unpacked=unpacked))


def save_timing(folder: StageDir, watch: Stopwatch, machine: Machine) -> Timing:
    """Add this process's share to what the stage took; that is no output and is never hashed."""
    before, now = folder.timing(), watch.usage
    took = Timing(
        seconds=before.seconds + now.seconds,
        cpu_seconds=before.cpu_seconds + now.cpu_seconds,
        peak_memory_mib=max(before.peak_memory_mib, now.peak_memory_mib),
        predicted_memory_mib=now.predicted_memory_mib,
        machines=(*(one for one in before.machines if one != machine), machine),
    )
    folder.write_text(TIMING, took.model_dump_json())
    return took


def took(usage: Timing) -> str:
    """Peak memory beside what was expected; empty where nothing was."""
    if not usage.predicted_memory_mib:
        return ""
    from palate.evaluation.words import memory

    peak, predicted = usage.peak_memory_mib, usage.predicted_memory_mib
    return f"  memory {memory(peak)} ({memory(predicted)} predicted)"


def headline(summary: Mapping[str, float]) -> str:
    """The first few numbers of a stage's summary, for its line on the terminal."""
    return "  ".join(f"{name} {value:.4g}" for name, value in list(summary.items())[:4])


def input_hashes(
    config: StageConfig, artifacts: Mapping[str, Path], store_url: str
) -> dict[str, str]:
    """Content hashes of all that the config names: earlier stages, files, folders and projects."""
    hashes: dict[str, str] = {}
    for name in named_in(config):
        path = local_path(name)
        stage = name.partition("/")[0].removeprefix("@")
        if name.startswith("@") and stage in artifacts:
            hashes[name] = StageDir(artifacts[stage]).content_hash()
        elif name.startswith(PROJECT):
            from palate.stages.sources import judged

            rows = judged(store_url, name)
            hashes[name] = content_id([row.model_dump(mode="json") for row in rows])
        elif path.name and path.exists():
            check_path(path)
            hashes[name] = sha256_file(path) if path.is_file() else sha256_tree(path)
    return hashes


def named_in(config: StageConfig) -> list[str]:
    """What the settings of a stage name: parts of lists, functions, and their arguments."""
    named: list[str] = []
    for key, value in config:
        if key in READS:
            texts = [value] if isinstance(value, str) else value
            parts = value.split(",") if key == "corpus" else texts
            named += [part.strip() for part in parts]
    for name in list(named):
        function = parse_function(name)
        if function is not None:
            named += [str(function.path), function.argument]
    return named
