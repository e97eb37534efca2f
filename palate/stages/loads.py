"""What each training stage will hold in memory, in the counts that the prediction takes."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import LoraConfig, StageConfig
from palate.config.onpolicy import AnyOnPolicyConfig, PpoConfig
from palate.config.stages import DpoConfig, PretrainConfig, RewardConfig, SftConfig
from palate.models.adapters import add_adapter
from palate.models.layout import largest_area
from palate.models.precision import has_fast_bf16, pick_device, precision_on
from palate.stages.context import StageContext
from palate.stages.memory import Arithmetic, Load, Memory, Shape, predicted_memory, shape_of
from palate.training.order import num_updates

_LOGPROBS, _WITH_ENTROPY = 3, 6
_SEEN = 2000  # groups that are laid out for the prediction
_EVERY = 50  # updates between checkpoints of fixed data (training/fit.py's callers)
_HELD = 1.25  # bytes that glibc's heap holds for each byte of activations, at the peak
_KERNELS = 80 * 2**20  # bytes; oneDNN compiles and keeps 0.3 to 0.7 MiB per shape of a product


def pretrain_memory(config: PretrainConfig, outline: PreTrainedModel, batch: int) -> Memory:
    """`pretrain` with `batch` rows per update."""
    shape = shape_of(outline)
    tokens = min(config.compute.micro_batch_tokens, batch * config.block_tokens)
    load = Load(trained=shape.parameters, tokens=tokens, row=config.block_tokens)
    return _predicted(config, shape, load, logits=_LOGPROBS, checkpoints=True)


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
    load = Load(
        trained=trained_by(config.lora, outline) or shape.parameters,
        copies=copies,
        passing=passing,
        tokens=_micro_batch(config, groups, batch),
        row=max((len(g.prompt) + max(map(len, g.responses)) for g in groups), default=0),
    )
    logits = 0 if isinstance(config, RewardConfig) else _LOGPROBS
    updates = num_updates(len(groups), batch=batch, epochs=config.epochs) if groups else _EVERY + 1
    return _predicted(config, shape, load, logits=logits, checkpoints=updates > _EVERY)


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
            config, _answered(prompts, config), -(-config.batch_prompts // config.minibatches)
        ),
        row=longest,
        cached_tokens=min(config.sampling.rows, config.batch_prompts * config.k) * longest,
    )
    checkpoints = config.steps > config.checkpoint_steps
    return _predicted(config, shape, load, logits=_WITH_ENTROPY, checkpoints=checkpoints)


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


def _answered(prompts: Sequence[TokenGroup], config: AnyOnPolicyConfig) -> list[TokenGroup]:
    """The groups of a step in which no response ends before it has to."""
    response = (0,) * config.sampling.max_tokens
    return [token_group(one.id, one.prompt, (response,) * config.k) for one in prompts]


def _micro_batch(config: StageConfig, groups: Sequence[TokenGroup], batch: int) -> int:
    """Tokens, padding included, of the largest micro-batch when these groups come in order."""
    budget, seen = config.compute.micro_batch_tokens, groups[:_SEEN]
    areas = [
        largest_area(seen[start : start + batch], budget=budget, layout="tree")
        for start in range(0, len(seen), batch)
    ]
    return max(areas, default=budget)


def _predicted(
    config: StageConfig, shape: Shape, load: Load, *, logits: int, checkpoints: bool
) -> Memory:
    device = pick_device(config.compute.device)
    bf16 = precision_on(device, config.compute.precision) == "bf16"
    on_cpu = device.type == "cpu"
    # Softmax is fp32, and under bf16 its result is kept a second time for the product.
    attention = (6 if bf16 else 4) if on_cpu and has_fast_bf16(device) else 0
    how = Arithmetic(
        number_bytes=2 if bf16 else 4,
        attention_bytes=attention,
        held=_HELD if on_cpu else 1.0,
        kernels=_KERNELS if on_cpu and bf16 else 0.0,
        # A checkpoint clones weights and both moments in host memory; on a GPU the optimizer's
        # grouped step makes one temporary of each.
        clones=3 * checkpoints if on_cpu else 1,
        logits=logits,
    )
    return predicted_memory(shape, load, how)
