"""One stage under examination: its data, its model, an example, its arithmetic and its memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from palate.batches.groups import TokenGroup
from palate.config.common import ComputeConfig, PromptConfig
from palate.config.stages import (
    DpoConfig,
    EvaluateConfig,
    JudgeConfig,
    OnPolicyConfig,
    PrepareConfig,
    PretrainConfig,
    ReportConfig,
    RewardConfig,
    SampleConfig,
    SftConfig,
    StageConfig,
)
from palate.models.precision import has_fast_bf16, pick_device
from palate.records import Prompt
from palate.stages import prepare
from palate.stages.context import EVALUATION, HELD_OUT, MODEL
from palate.stages.doctor import material as materials
from palate.stages.doctor import plans, rendering, trial
from palate.stages.doctor.blueprints import Blueprint, Blueprints
from palate.stages.doctor.material import Material
from palate.stages.doctor.memory import Load, Memory, predicted_memory, shape_of
from palate.stages.doctor.places import REWARD_MODEL, Case, place_of, promised
from palate.stages.doctor.verdicts import Exam, attempt, counted, ok, problem, warning
from palate.stages.pretrain import pieces
from palate.store import formats


def examine(config: StageConfig, case: Case, blueprints: Blueprints) -> Exam[Memory | None]:
    """Everything there is to say about a stage, and the memory it will take if it trains."""
    yield from attempt(_device(config.compute))
    match config:
        case PrepareConfig():
            yield from attempt(_prepare(config, case))
        case PretrainConfig():
            return (yield from attempt(_pretrain(config, case, blueprints)))
        case SftConfig() | RewardConfig() | DpoConfig():
            return (yield from _fixed(config, case, blueprints))
        case OnPolicyConfig():
            return (yield from _online(config, case, blueprints))
        case SampleConfig():
            yield from _sample(config, case, blueprints)
        case JudgeConfig():
            yield from _judge(config, case, blueprints)
        case EvaluateConfig():
            yield from _evaluate(config, case, blueprints)
        case ReportConfig():
            if place_of(config.evaluation, case.context) == "later":
                yield from promised(case, config.evaluation, EVALUATION)
        case _:
            raise AssertionError(f"no exam for {type(config).__name__}")
    return None
