"""`palate seeds`: runs of one recipe under different seeds, method by method."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console

from palate.evaluation.results import Evaluation
from palate.evaluation.seeds import combined, tables
from palate.stages.context import EVALUATION
from palate.stages.pipeline import stage_folders
from palate.store.errors import DataError
from palate.store.files import write_text
from palate.store.runs import CONFIG, Manifest, StageDir

_ENOUGH = 5
_TELLS = ("report",)  # stages that say something about a run and decide nothing in it


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run's stages by name: their manifests and their settings by dotted path."""

    path: Path
    manifests: Mapping[str, Manifest]
    settings: Mapping[str, object]

    def evaluation(self) -> Evaluation:
        """What the run's last evaluation says."""
        named = [name for name, one in self.manifests.items() if one.stage == "evaluate"]
        if not named:
            raise DataError(
                "no stage of it has evaluated anything",
                source=str(self.path),
                remedy="run its evaluate stage first",
            )
        folder = stage_folders(self.path)[named[-1]][1]
        StageDir(folder).checked(EVALUATION)
        return Evaluation.model_validate_json((folder / EVALUATION).read_bytes())


def run(names: Sequence[str], *, root: Path, json_file: Path | None, console: Console) -> None:
    """Print every method's mean and spread over the runs; also write them when asked to."""
    if len(names) < 2:
        raise ValueError("the spread between runs needs two runs or more of one recipe")
    runs = [read_run(name, root) for name in names]
    for other in runs[1:]:
        check_same_recipe(runs[0], other)
    check_seeds(runs)
    several = combined([one.evaluation() for one in runs], [str(one.path) for one in runs])
    for table in tables(several):
        console.print(table)
    if len(runs) < _ENOUGH:
        console.print(
            f"[yellow]{len(runs)} runs say little about the spread between runs: claims about "
            f"methods want {_ENOUGH} or more"
        )
    if json_file:
        write_text(json_file, several.model_dump_json(indent=1) + "\n")


def read_run(name: str, root: Path) -> FinishedRun:
    """A run by its folder, or by its name below `runs/`; every stage of it has finished."""
    path = Path(name) if Path(name).is_dir() else root / "runs" / name
    folders = {stage: StageDir(folder) for stage, (_, folder) in stage_folders(path).items()}
    if not folders:
        raise DataError(
            "no run is there",
            source=str(path),
            remedy="name a run, or its folder such as runs/cafe",
        )
    settings: dict[str, object] = {}
    for stage, folder in folders.items():
        if stage not in _TELLS:
            plain = json.loads(folder.config_text())
            settings |= _leaves(stage, plain)
    manifests = {stage: folder.checked(CONFIG) for stage, folder in folders.items()}
    return FinishedRun(path=path, manifests=manifests, settings=settings)


def check_same_recipe(one: FinishedRun, other: FinishedRun) -> None:
    """Refuses runs whose settings, files or versions differ; only seeds may."""
    first, second = _made_of(one), _made_of(other)
    differing = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    if differing:
        key = differing[0]
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise DataError(
            f"not the recipe of {one.path}: {key} is {second.get(key, 'missing')!r} here and "
            f"{first.get(key, 'missing')!r} there{more}",
            source=str(other.path),
            remedy="combine runs that differ in nothing but their seeds",
        )


def check_seeds(runs: Sequence[FinishedRun]) -> None:
    """Refuses a run that repeats another one's seed: it says nothing new."""
    taken: dict[tuple[int, ...], Path] = {}
    for one in runs:
        seeds = tuple(manifest.seed for manifest in one.manifests.values())
        if seeds in taken:
            raise DataError(
                f"has the seed of {taken[seeds]}",
                source=str(one.path),
                remedy="run the recipe with another seed, such as seed=1 name=again",
            )
        taken[seeds] = one.path


def _made_of(run: FinishedRun) -> dict[str, object]:
    """What must be equal in runs of one recipe: settings, what was read from outside, versions."""
    made: dict[str, object] = dict(run.settings)
    for stage, manifest in run.manifests.items():
        if stage not in _TELLS:
            made |= {f"{stage}: {k}": v for k, v in manifest.inputs.items() if k[:1] != "@"}
            made[f"{stage}: version of palate"] = manifest.code_version
    return made


def _leaves(path: str, value: object) -> dict[str, object]:
    """Settings by dotted path, without seeds."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for name, inner in cast("dict[str, object]", value).items():
        if name != "seed":
            found |= _leaves(f"{path}.{name}", inner)
    return found
