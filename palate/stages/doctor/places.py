"""Where what a stage names is to be found: here, on the Hub, or with a stage that runs first."""

from pathlib import Path
from typing import Literal

from palate.config.common import StageConfig
from palate.config.onpolicy import OnPolicyConfig
from palate.config.stages import (
    DpoConfig,
    EvaluateConfig,
    JudgeConfig,
    PrepareConfig,
    PretrainConfig,
    Recipe,
    RewardConfig,
    SampleConfig,
    SftConfig,
)
from palate.stages.context import (
    DEMONSTRATIONS,
    EVALUATION,
    GROUPS,
    HELD_OUT,
    MODEL,
    PREFERENCES,
    StageContext,
)
from palate.stages.doctor.verdicts import Exam, ok, problem
from palate.store.rows import may_be_of_the_hub

Place = Literal["here", "hub", "later"]
REWARD_MODEL = "reward model"

_DATA_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz")


def place_of(source: str, context: StageContext) -> Place:
    """`later` is data of a stage that has not run; a name that is no file may be the Hub's."""
    if source.startswith("@"):
        return "here" if stage_name(source) in context.artifacts else "later"
    if source.startswith("cafe:") or Path(source).exists() or source.endswith(_DATA_FILES):
        return "here"
    return "hub" if may_be_of_the_hub(source) else "here"


def parts_of(sources: str) -> list[str]:
    """The names between commas."""
    return [part.strip() for part in sources.split(",")]


def stage_name(reference: str) -> str:
    """The stage of `@stage` or `@stage/file`."""
    return reference.removeprefix("@").partition("/")[0]


def makes(config: StageConfig) -> tuple[str, ...]:
    """The files that a stage of this config writes for others, `MODEL` or `REWARD_MODEL`."""
    if isinstance(config, JudgeConfig) and config.ask == "best":
        return (PREFERENCES, HELD_OUT, DEMONSTRATIONS)
    return next((made for kind, made in _MAKES.items() if isinstance(config, kind)), ())


_MAKES: dict[type[StageConfig], tuple[str, ...]] = {
    PretrainConfig: (MODEL,),
    SftConfig: (MODEL,),
    OnPolicyConfig: (MODEL,),
    DpoConfig: (MODEL,),
    RewardConfig: (REWARD_MODEL,),
    SampleConfig: (GROUPS,),
    JudgeConfig: (PREFERENCES, HELD_OUT),
    EvaluateConfig: (EVALUATION,),
}


def promised(recipe: Recipe, reference: str, wanted: str) -> Exam[None]:
    """Whether a stage that has not run is going to make what another one wants of it."""
    name, _, file = reference.removeprefix("@").partition("/")
    config = recipe.stages[name]
    made = makes(config)
    if isinstance(config, PrepareConfig) or wanted in made:
        yield ok(f"{reference}: [{name}] has not run yet and will write {file or wanted}")
        return
    could = isinstance(config, JudgeConfig) and wanted == DEMONSTRATIONS
    hint = ', or set ask = "best" there' if could else ""
    yield problem(
        f"{reference}: expected a stage that makes {wanted}, and [{name}] makes "
        f"{', '.join(made) or 'nothing of the kind'}",
        f"refer to another stage{hint}",
    )
