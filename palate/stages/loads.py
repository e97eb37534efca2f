"""What each training stage will hold in memory, in the counts that the prediction takes."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from palate.batches.groups import TokenGroup
from palate.config.common import LoraConfig
from palate.config.stages import (
    AnyOnPolicyConfig,
    DpoConfig,
    PpoConfig,
    PretrainConfig,
    RewardConfig,
    SftConfig,
    StageConfig,
)
from palate.models.adapters import add_adapter
from palate.models.precision import pick_device, precision_on
from palate.stages.context import StageContext
from palate.stages.memory import Load, Memory, Shape, predicted_memory, shape_of

_LOGPROBS, _WITH_ENTROPY = 3, 6


def pretrain_memory(config: PretrainConfig, outline: PreTrainedModel, batch: int) -> Memory:
    """`pretrain` with `batch` rows per update."""
    shape = shape_of(outline)
    tokens = min(config.compute.micro_batch_tokens, batch * config.block_tokens)
    load = Load(trained=shape.parameters, tokens=tokens)
    return _predicted(config, shape, load, logit_copies=_LOGPROBS)


def fixed_memory(
    config: SftConfig | RewardConfig | DpoConfig,
    outline: PreTrainedModel,
    groups: Sequence[TokenGroup],
) -> Memory:
    """A stage over fixed data; without groups, a full micro-batch is assumed.

    A copy that is the reference is there before DPO trains, and all the time for KTO; so is the
    policy that a reward model is made from, until it is made.
    """
    policy = shape_of(outline)
    shape, copies, passing = policy, 0, 0
    if isinstance(config, RewardConfig):
        shape, passing = _with_head(policy), policy.parameters
    elif isinstance(config, DpoConfig) and not config.lora.rank:
        copies = policy.parameters if config.loss == "kto" else 0
        passing = policy.parameters
    batch = config.batch_rows if isinstance(config, SftConfig) else config.batch_groups
    rows = [group.k * (len(group.prompt) + max(map(len, group.responses))) for group in groups]
    load = Load(
        trained=trained_by(config.lora, outline) or shape.parameters,
        copies=copies,
        passing=passing,
        tokens=_micro_batch(config, max(rows, default=0), batch),
    )
    logits = 0 if isinstance(config, RewardConfig) else _LOGPROBS
    return _predicted(config, shape, load, logit_copies=logits)


def online_memory(
    config: AnyOnPolicyConfig,
    outline: PreTrainedModel,
    prompts: Sequence[TokenGroup],
    reward: PreTrainedModel | None,
    *,
    reward_lora: LoraConfig | None = None,
) -> Memory:
    """PPO, GRPO and RLOO; `reward` is the outline of a reward model, None for a function.

    `reward_lora` is the adapter of one that shares the policy's backbone.
    """
    shape = shape_of(outline)
    judge = _with_head(shape_of(reward)) if reward else None
    adapter = trained_by(config.lora, outline)
    critic = 0
    if isinstance(config, PpoConfig):
        own = judge if judge and config.critic_from == "reward" else _with_head(shape)
        critic = (adapter + shape.width if adapter else own.parameters) + 1
    scorer = judge.parameters if judge else 0
    if reward_lora:
        scorer = trained_by(reward_lora, outline) + shape.width
    certified = (adapter or shape.parameters) if config.kl.control == "hard" else 0
    longest = max((len(group.prompt) for group in prompts), default=config.prompt.max_tokens)
    longest += config.sampling.max_tokens
    load = Load(
        trained=adapter or shape.parameters,
        copies=certified + (0 if adapter else shape.parameters),
        reward=scorer,
        critic=critic,
        tokens=_micro_batch(
            config, config.k * longest, -(-config.batch_prompts // config.minibatches)
        ),
        cached_tokens=min(config.sampling.rows, config.batch_prompts * config.k) * longest,
    )
    return _predicted(config, shape, load, logit_copies=_WITH_ENTROPY)


def on_one_backbone(config: AnyOnPolicyConfig, reward: RewardConfig) -> bool:
    """Whether a reward model that a stage of the recipe makes will be an adapter on the policy's
    own backbone."""
    return bool(config.lora.rank and reward.lora.rank) and config.model == reward.model


def outline_of(network: PreTrainedModel) -> PreTrainedModel:
    """A network of the same configuration without memory for its weights."""
    return outlined(network.config)


def outlined(config: PreTrainedConfig) -> PreTrainedModel:
    """A causal language model of a configuration, without memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def announce(context: StageContext, config: StageConfig, memory: Memory) -> None:
    """Let a run compare with the process's memory, where that is what the stage computes in."""
    if pick_device(config.compute.device).type == "cpu":
        context.expect(memory.peak)


def trained_by(lora: LoraConfig, outline: PreTrainedModel) -> int:
    """Parameters of an adapter; 0 without one."""
    if not lora.rank:
        return 0
    network = add_adapter(copy.deepcopy(outline), lora, name="doctor", seed=0)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _with_head(shape: Shape) -> Shape:
    """The backbone with one output per token instead of a vocabulary."""
    return replace(shape, parameters=shape.backbone + shape.width)


def _micro_batch(config: StageConfig, longest: int, batch: int) -> int:
    """Tokens of the largest micro-batch; `longest` is a group's padded area, 0 when unknown."""
    budget = config.compute.micro_batch_tokens
    return max(longest, min(budget, batch * longest)) if longest else budget


def _predicted(config: StageConfig, shape: Shape, load: Load, *, logit_copies: int) -> Memory:
    device = pick_device(config.compute.device)
    return predicted_memory(
        shape,
        load,
        number_bytes=2 if precision_on(device, config.compute.precision) == "bf16" else 4,
        logit_copies=logit_copies,
        # A checkpoint clones weights and both moments in host memory; on a GPU the optimizer's
        # grouped step makes one temporary of each.
        clones_trained=3 if device.type == "cpu" else 1,
    )
