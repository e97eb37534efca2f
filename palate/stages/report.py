"""`report`: one self-contained HTML page and the same content as JSON."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from palate.config.load import load_recipe, resolved_json
from palate.config.stages import Recipe, ReportConfig
from palate.evaluation.figures import TrainingCurve
from palate.evaluation.report import (
    ConfigText,
    Credit,
    ReportInputs,
    RunFacts,
    StageCost,
    StageObjective,
    StageTrust,
    page,
    report,
)
from palate.evaluation.restraints import StageRatios
from palate.evaluation.results import Evaluation
from palate.stages.context import (
    CREDIT,
    EVALUATION,
    OBJECTIVE,
    RECIPE,
    StageContext,
    stage_seed,
)
from palate.stages.explained import as_written, controls, group_of, notes
from palate.store.runs import StageDir

_CREDITS_PER_POLICY = 4


def run(config: ReportConfig, context: StageContext) -> dict[str, float]:
    """Write report.html and report.json about the stages that have finished."""
    source = Path(context.data(config.evaluation, EVALUATION))
    evaluation = as_written(Evaluation, source.read_text(encoding="utf-8"), source)
    stages = {name: StageDir(path) for name, path in context.artifacts.items()}
    for folder in stages.values():
        folder.checked()
    built = report(
        ReportInputs(
            title=config.title,
            evaluation=evaluation,
            curves=tuple(
                TrainingCurve(name=name, stage=folder.manifest().stage, steps=tuple(steps))
                for name, folder in stages.items()
                if (steps := folder.metrics())
            ),
            costs=tuple(cost(name, folder) for name, folder in stages.items()),
            credits=tuple(
                one for name, folder in stages.items() for one in credits_of(name, folder)
            ),
            configs=tuple(
                ConfigText(name=name, text=folder.config_text()) for name, folder in stages.items()
            ),
            notes=notes(evaluation, stages),
            groups=tuple(one for name, folder in stages.items() if (one := group_of(name, folder))),
            ratios=tuple(
                StageRatios(name=name, steps=tuple(counts))
                for name, folder in stages.items()
                if (counts := folder.ratios())
            ),
            controls=controls(stages),
            objectives=tuple(
                StageObjective(name=name, sentences=tuple(json.loads(path.read_text("utf-8"))))
                for name, folder in stages.items()
                if (path := folder.path / OBJECTIVE).is_file()
            ),
            trust=tuple(
                StageTrust(name=name, record=record)
                for name, folder in stages.items()
                if (record := folder.trust())
            ),
            facts=facts(context, stages),
        )
    )
    context.folder.write_text("report.html", page(built))
    context.folder.write_text("report.json", built.model_dump_json(indent=1))
    return {
        "policies": float(len(evaluation.policies)),
        "findings": float(len(built.findings)),
    }


def cost(name: str, folder: StageDir) -> StageCost:
    """What a stage took."""
    timing = folder.timing()
    return StageCost(name=name, stage=folder.manifest().stage, **timing.model_dump())


def credits_of(name: str, folder: StageDir) -> list[Credit]:
    """Some responses of a policy's last step with the advantage of each token."""
    path = folder.path / CREDIT
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))[:_CREDITS_PER_POLICY]
    return [
        Credit(
            policy=name,
            prompt=row["prompt"],
            tokens=tuple(row["tokens"]),
            advantages=tuple(row["advantages"]),
        )
        for row in rows
    ]


def facts(context: StageContext, stages: dict[str, StageDir]) -> RunFacts:
    """The machine, the versions, and the hashes of all that was made."""
    packages = ("palate", "torch", "transformers", "peft", "numpy", "scipy")
    path = context.folder.path.parent / RECIPE
    recipe = recipe_of(path, stages)
    return RunFacts(
        command=f"palate run {path.as_posix()}" if recipe else "",
        seed=recipe.seed if recipe else None,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        versions={name: version(name) for name in packages} | {"python": platform.python_version()},
        seeds={name: folder.manifest().seed for name, folder in stages.items()},
        hashes={name: folder.content_hash() for name, folder in stages.items()},
    )


def recipe_of(path: Path, stages: dict[str, StageDir]) -> Recipe | None:
    """The run's recipe; None when some stage was run by itself with other settings, or went on with
    something changed."""
    if not path.is_file():
        return None
    recipe = load_recipe(path)
    for name, folder in stages.items():
        config = recipe.stages.get(name)
        if config is None or resolved_json(config) != folder.config_text():
            return None
        manifest = folder.manifest()
        if manifest.resumed or manifest.seed != stage_seed(recipe.seed, name, config):
            return None
    return recipe
