"""What a running stage is given, and how the names in its config become data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from palate.config.common import StageConfig
from palate.maths.seeds import seed as named_seed
from palate.store.errors import BadRows, DataError, refuse
from palate.store.formats import AS_IT_IS, Reading
from palate.store.runs import StageDir
from palate.training.monitor import Monitor

MODEL = "model"
GROUPS = "groups.jsonl"
PREFERENCES = "preferences.jsonl"
HELD_OUT = "held_out.jsonl"
DEMONSTRATIONS = "demonstrations.jsonl"
PROMPTS = "prompts.jsonl"
CORPUS = "corpus.jsonl"
EVALUATION = "evaluation.json"
CREDIT = "credit.json"
OBJECTIVE = "objective.json"
BAD_ROWS = "bad_rows.jsonl"
RECIPE = "recipe.toml"
PROJECT = "project:"
"""The prefix of sources that are the judgements of a project in the database."""


def stage_seed(seed: int, name: str, config: StageConfig) -> int:
    """The seed of a stage in a run with `seed`: its own, else one by its name."""
    return named_seed(seed, name) if config.seed is None else config.seed


def check_finished(reference: str, artifacts: Mapping[str, Path]) -> None:
    """Refuse `@stage` (also `@stage/file`) of a stage that is not among those that finished."""
    stage = reference.removeprefix("@").partition("/")[0]
    if reference.startswith("@") and stage not in artifacts:
        known = ", ".join(f"@{name}" for name in artifacts) or "none"
        raise DataError(
            source=reference,
            problem="no such stage has finished here",
            remedy=f"finished stages: {known}; or give a folder, a file or a Hub name",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """A stage's folder, seed, monitor, and the artifacts of the stages that it may refer to.

    `artifacts` maps the name of every earlier stage of the run to its folder; `project` is the
    run's name in the database at `store_url`. `bad_rows` is told of every row that cannot be used,
    `left_out` how many are longer than allowed, `expect` how many bytes the stage will add to what
    the process holds, `say` what people should know.
    """

    name: str
    folder: StageDir
    seed: int
    monitor: Monitor
    artifacts: Mapping[str, Path]
    store_url: str
    project: str
    bad_rows: BadRows = refuse
    left_out: Callable[[int], None] = lambda count: None
    as_set: Reading = AS_IT_IS
    expect: Callable[[float], None] = lambda size: None
    say: Callable[[str], None] = lambda text: None

    def artifact(self, reference: str) -> Path:
        """The folder of `@stage`."""
        check_finished(reference, self.artifacts)
        return self.artifacts[reference.removeprefix("@")]

    def reading(self, path: str) -> Reading:
        """How a file is read: the columns of what a stage wrote have their own names."""
        own = any(Path(path).is_relative_to(folder) for folder in self.artifacts.values())
        return replace(self.as_set, columns={}) if own else self.as_set

    def model(self, reference: str) -> str:
        """The model folder of `@stage`, else the folder or Hub name as it is."""
        return str(self.artifact(reference) / MODEL) if reference.startswith("@") else reference

    def source(self, reference: str) -> str:
        """The folder of `@stage`, else the file, folder or Hub name as it is."""
        return str(self.artifact(reference)) if reference.startswith("@") else reference

    def data(self, reference: str, *files: str) -> str:
        """The first of `files` that `@stage` wrote; `@stage/file` and other names as they are."""
        if not reference.startswith("@"):
            return reference
        stage, _, file = reference.partition("/")
        if file:
            return str(self.artifact(stage) / file)
        folder = self.artifact(reference)
        for name in files:
            if (folder / name).is_file():
                return str(folder / name)
        raise DataError(
            source=reference,
            problem=f"that stage wrote none of {', '.join(files)}",
            remedy="refer to a stage that writes it (sample writes groups, judge preferences)",
        )
