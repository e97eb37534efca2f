"""What finished stages say of themselves for the report: how policies came about, KL, one group."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError

from palate.algorithms.onpolicy import ALGORITHMS
from palate.algorithms.rlhf import sequence_rewards
from palate.batches.experience import Rollouts
from palate.batches.padding import padded
from palate.config.common import StageConfig
from palate.config.onpolicy import (
    GrpoConfig,
    OnlineDpoConfig,
    OnPolicyConfig,
    PolicyGradientConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.config.stages import STAGES, DpoConfig, JudgeConfig, SampleConfig, SftConfig
from palate.evaluation.report import GroupAnswer, PolicyNote, SampledGroup
from palate.evaluation.restraints import KlControl
from palate.evaluation.results import Evaluation
from palate.store.errors import DataError
from palate.store.runs import CONFIG, StageDir
from palate.training.trust import ROLLOUTS, StoredRollout

M = TypeVar("M", bound=BaseModel)
Stages = Mapping[str, StageDir]


def as_written(kind: type[M], text: str, path: Path, *, row: int = 0) -> M:
    """What a stage wrote; a file that another version wrote otherwise is refused by name."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            "this is not what this version of palate writes there",
            source=str(path),
            row=row,
            remedy="run that stage again",
        ) from error


def config_of(folder: StageDir) -> StageConfig:
    """The settings that a finished stage ran with."""
    return as_written(STAGES[folder.manifest().stage], folder.config_text(), folder.path / CONFIG)


def notes(evaluation: Evaluation, stages: Stages) -> tuple[PolicyNote, ...]:
    """How each evaluated policy came about, where a stage of the run made it."""
    configs = {name: config_of(folder) for name, folder in stages.items()}
    made = []
    for policy in evaluation.policies:
        if policy.kl_method == "bound":
            text = (
                f"{evaluation.baseline} itself, asked several times: the answer that "
                f"{evaluation.proxy or evaluation.taste} scores highest counts. Nothing is trained."
            )
        else:
            text = _origin(configs.get(policy.name), configs)
        if text:
            made.append(PolicyNote(name=policy.name, text=text))
    return tuple(made)


def _origin(config: StageConfig | None, configs: Mapping[str, StageConfig]) -> str:
    match config:
        case SftConfig():
            return _imitation(config, configs)
        case DpoConfig():
            return (
                f"Starts from {_bare(config.model)} and learns from the preferences of "
                f"{_bare(config.data)} directly, without a reward model."
            )
        case OnPolicyConfig():
            rewards = " and ".join(map(_bare, config.rewards))
            return (
                f"Starts from {_bare(config.model)}, answers, and is told by {rewards} how good "
                f"each answer is; {_blame(config)}."
            )
        case _:
            return ""


def _imitation(config: SftConfig, configs: Mapping[str, StageConfig]) -> str:
    judged = configs.get(_bare(config.data))
    sampled = configs.get(_bare(judged.groups)) if isinstance(judged, JudgeConfig) else None
    if isinstance(judged, JudgeConfig) and isinstance(sampled, SampleConfig):
        return (
            f"{_bare(config.model)} answered every prompt {sampled.k} times, and imitates those of "
            f"its answers that {_bare(judged.judge)} liked best: one answer is enough afterwards."
        )
    return f"{_bare(config.model)}, taught to imitate the demonstrations in {config.data}."


def _blame(config: OnPolicyConfig) -> str:
    match config:
        case GrpoConfig() | RlooConfig():
            return f"each of its {config.k} answers to a prompt is compared with the others"
        case ReinforceConfig():
            return f"each answer is compared with {config.baseline.replace('_', ' ')}"
        case OnlineDpoConfig():
            return "the better one of two becomes more likely, the worse one less"
        case _:
            return "a critic works out which tokens earned it"


def _bare(reference: str) -> str:
    return reference.removeprefix("@")


def controls(stages: Stages) -> tuple[KlControl, ...]:
    """How each on-policy stage held its policy near the reference."""
    configs = {name: config_of(folder) for name, folder in stages.items()}
    return tuple(
        KlControl(name=name, control=c.kl.control, coef=c.kl.coef, target=c.kl.target)
        for name, c in configs.items()
        if isinstance(c, PolicyGradientConfig)
    )


def group_of(name: str, folder: StageDir) -> SampledGroup | None:
    """The group of the last step with the most different answers, and the advantages they got.

    None where all rewards of every group are equal, and for methods that compare no group.
    """
    path, config = folder.path / ROLLOUTS, config_of(folder)
    if not isinstance(config, GrpoConfig | RlooConfig) or not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    rows = [as_written(StoredRollout, line, path, row=i) for i, line in enumerate(lines, start=1)]
    coef, rollouts = folder.metrics()[-1]["kl/coef"], _tensors(rows, config.k)
    rewards = sequence_rewards(rollouts, config, kl_coef=coef)
    advantages = ALGORITHMS[config.stage].prepare(rollouts, config, kl_coef=coef).advantages[:, 0]
    live = [
        slice(start, start + config.k)
        for start in range(0, len(rows), config.k)
        if len(rewards[start : start + config.k].unique()) > 1
    ]
    if not live:
        return None
    part = max(live, key=lambda part: len({row.response for row in rows[part]}))
    columns = zip(rows[part], rewards[part].tolist(), advantages[part].tolist(), strict=True)
    return SampledGroup(
        policy=name,
        prompt=rows[part.start].prompt,
        answers=tuple(
            GroupAnswer(text=row.response, score=row.score, reward=reward, advantage=advantage)
            for row, reward, advantage in columns
        ),
    )


def _tensors(rows: list[StoredRollout], k: int) -> Rollouts:
    old = padded([row.logprobs for row in rows], torch.float32)
    return Rollouts(
        mask=padded([[True] * len(row.token_ids) for row in rows], torch.bool),
        sampler_logprobs=padded([row.sampler_logprobs for row in rows], torch.float32),
        old_logprobs=old,
        ref_logprobs=padded([row.ref_logprobs for row in rows], torch.float32),
        values=torch.zeros_like(old),
        scores=torch.tensor([row.score for row in rows]),
        finished=torch.tensor([row.finished for row in rows]),
        group_index=torch.arange(len(rows) // k).repeat_interleave(k),
    )
