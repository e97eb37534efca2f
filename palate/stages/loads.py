"""What each training stage will hold in memory, in the counts that the prediction takes."""

import copy
import itertools
import math
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import LoraConfig, StageConfig
from palate.config.onpolicy import AnyOnPolicyConfig, PpoConfig
from palate.config.stages import DpoConfig, PretrainConfig, RewardConfig, SftConfig
from palate.models.adapters import add_adapter
from palate.models.layout import num_widths, planned_shapes
from palate.models.precision import has_fast_bf16, pick_device, precision_on
from palate.stages.context import StageContext
from palate.stages.memory import Arithmetic, Load, Memory, Shape, predicted_memory, shape_of
from palate.training.order import batch_indices, num_updates

_LOGPROBS, _WITH_ENTROPY = 3, 6
_SEEN = 2000  # groups that are laid out for the prediction
_HELD = 1.25  # bytes that glibc's heap holds for each byte of activations, at the peak
KERNEL = 0.95 * 2**20  # bytes; oneDNN compiles a bf16 product for every shape, and keeps it
# New shapes come ever more rarely: for every width that rows can have, so many per factor e of
# on-policy steps, and of updates on data that is still to be sampled.
_PER_STEP, _PER_UPDATE = 0.45, 0.3
_LEFT = 700 * 2**20  # bytes of kernels that a process keeps, whatever its stages compiled
_UNKNOWN = 40  # shapes, as long as there is no data

Fixed = SftConfig | RewardConfig | DpoConfig
Training = PretrainConfig | Fixed | AnyOnPolicyConfig


def pretrain_memory(
    config: PretrainConfig, outline: PreTrainedModel, rows: Sequence[TokenGroup], *, batch: int
) -> Memory:
    """`pretrain` with `batch` rows per update."""
    shape = shape_of(outline)
    shapes = _shapes(config, rows, batch)
    tokens = _tokens(config, shapes)
    load = Load(
        trained=shape.parameters,
        tokens=tokens,
        attended=_attended(shapes) or tokens * config.block_tokens,
        shapes=len(shapes) or _UNKNOWN,
    )
    return _predicted(config, shape, load, logits=_LOGPROBS, checkpoints=True)


def fixed_memory(
    config: Fixed,
    outline: PreTrainedModel,
    groups: Sequence[TokenGroup],
    *,
    unwritten: Sequence[TokenGroup] | None = None,
) -> Memory:
    """A stage over fixed data; without groups, a full micro-batch is assumed.

    Responses of the `unwritten` groups stand in for what is still to be sampled; there are none of
    them where nothing is known of it. A copy that is the reference is there before DPO trains, and
    all the time for KTO; so is the policy that a reward model is made from, until it is made. The
    best weights are one more copy of what is trained.
    """
    policy = shape_of(outline)
    shape, copies, passing = policy, 0, 0
    if isinstance(config, RewardConfig):
        shape, passing = _with_head(policy), policy.parameters
    elif isinstance(config, DpoConfig) and not config.lora.rank:
        copies = policy.parameters if config.loss == "kto" else 0
        passing = policy.parameters
    trained = trained_by(config.lora, outline) or shape.parameters
    if config.keep == "best":
        copies += trained
    batch = config.batch_rows if isinstance(config, SftConfig) else config.batch_groups
    both = [*(unwritten or ()), *groups]
    updates = config.checkpoint_updates + 1
    if both:
        updates = num_updates(
            len(both), batch=batch, epochs=config.epochs, at_most=config.max_updates
        )
    shapes = _shapes(config, both, batch)
    if unwritten is None:
        num_shapes = _met(config, groups, shapes)
    else:  # Long and short groups are laid out apart: each kind has widths of its own.
        num_shapes = _guessed(unwritten, updates) + (_guessed(groups, updates) if groups else 0)
    load = Load(
        trained=trained,
        copies=copies,
        passing=passing,
        tokens=_tokens(config, shapes),
        attended=_attended(shapes),
        shapes=num_shapes,
    )
    logits = 0 if isinstance(config, RewardConfig) else _LOGPROBS
    return _predicted(
        config, shape, load, logits=logits, checkpoints=updates > config.checkpoint_updates
    )


def online_memory(
    config: AnyOnPolicyConfig,
    outline: PreTrainedModel,
    prompts: Sequence[TokenGroup],
    reward: PreTrainedModel | None,
    *,
    reward_lora: LoraConfig | None = None,
    lengths: Sequence[int] = (),
) -> Memory:
    """PPO, GRPO and RLOO; `reward` is the outline of a reward model, None for a function.

    `reward_lora` is the adapter of one that shares the policy's backbone, `lengths` those of some
    responses of the policy; without any, none ends before it has to.
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
    tree = longest + config.k * config.sampling.max_tokens
    longest += config.sampling.max_tokens
    batch = -(-config.batch_prompts // config.minibatches)
    groups = answered(prompts, k=config.k, lengths=lengths or (config.sampling.max_tokens,))
    shapes = _shapes(config, groups, batch)
    tokens = _tokens(config, shapes)
    load = Load(
        trained=adapter or shape.parameters,
        copies=certified + (0 if adapter else shape.parameters),
        reward=scorer,
        critic=critic,
        tokens=tokens,
        attended=_attended(shapes) or tokens * longest,
        shapes=_PER_STEP * num_widths(tree) * math.log1p(config.steps),
        cached_tokens=min(config.sampling.rows, config.batch_prompts * config.k) * longest,
    )
    checkpoints = config.steps > config.checkpoint_steps
    return _predicted(config, shape, load, logits=_WITH_ENTROPY, checkpoints=checkpoints)


def answered(prompts: Sequence[TokenGroup], *, k: int, lengths: Sequence[int]) -> list[TokenGroup]:
    """Groups of k responses that have these lengths by turns."""
    turns = itertools.cycle(lengths)
    return [
        token_group(one.id, one.prompt, tuple((0,) * next(turns) for _ in range(k)))
        for one in prompts
    ]


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


def left_by(earlier: Iterable[Memory]) -> float:
    """Bytes that earlier stages of a run leave in its process: kernels, of which half serve again.

    oneDNN lets go of the least used where it has a thousand.
    """
    return min(_LEFT, sum(memory.kernels for memory in earlier) / 2)


def trained_by(lora: LoraConfig, outline: PreTrainedModel) -> int:
    """Parameters of an adapter; 0 without one."""
    if not lora.rank:
        return 0
    network = add_adapter(copy.deepcopy(outline), lora, name="doctor", seed=0)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _with_head(shape: Shape) -> Shape:
    """The backbone with one output per token instead of a vocabulary."""
    return replace(shape, parameters=shape.backbone + shape.width)


def _shapes(config: StageConfig, groups: Sequence[TokenGroup], batch: int) -> set[tuple[int, int]]:
    """(rows, width), padding included, of the micro-batches of some first updates."""
    if not groups:
        return set()
    seen = [groups[i] for i in batch_indices(len(groups), 0, batch=_SEEN, run_seed=0)]
    budget = config.compute.micro_batch_tokens
    return {
        shape
        for start in range(0, len(seen), batch)
        for shape in planned_shapes(seen[start : start + batch], budget=budget, layout="tree")
    }


def _met(config: Fixed, groups: Sequence[TokenGroup], shapes: Set[tuple[int, int]]) -> float:
    """Shapes of the updates and, as thirds, of the pass in which references and scores are read."""
    read = set() if isinstance(config, SftConfig) else _shapes(config, groups, _SEEN)
    return len(shapes) + len(read - shapes) / 3 or _UNKNOWN


def _guessed(groups: Sequence[TokenGroup], updates: int) -> float:
    """Shapes of so many updates on responses that may be shorter than those in the groups."""
    if not groups:
        return _UNKNOWN
    return _PER_UPDATE * num_widths(max(g.num_tokens for g in groups)) * math.log1p(updates)


def _tokens(config: StageConfig, shapes: Collection[tuple[int, int]]) -> int:
    """Tokens of the largest micro-batch; what they may be while there are none."""
    return max((rows * width for rows, width in shapes), default=config.compute.micro_batch_tokens)


def _attended(shapes: Collection[tuple[int, int]]) -> int:
    """Pairs of a token and a column of its row, in the micro-batch that has most."""
    return max((rows * width**2 for rows, width in shapes), default=0)


def _predicted(
    config: Training, shape: Shape, load: Load, *, logits: int, checkpoints: bool
) -> Memory:
    device = pick_device(config.compute.device)
    bf16 = precision_on(device, config.compute.precision) == "bf16"
    on_cpu = device.type == "cpu"
    # Eager attention's softmax is fp32, and under bf16 its result is kept again for the product.
    matrices = (2 if shape.products else 6) if bf16 else 4
    attention = matrices if on_cpu and has_fast_bf16(device) else 0
    how = Arithmetic(
        number_bytes=2 if bf16 else 4,
        attention_bytes=attention,
        held=_HELD if on_cpu else 1.0,
        kernel=KERNEL if on_cpu and bf16 else 0.0,
        # A checkpoint clones weights and moments in host memory; on a GPU the optimizer's
        # grouped step makes one temporary of each.
        clones=3 * checkpoints if on_cpu else 1,
        logits=logits,
    )
    if config.optimizer.name == "muon":
        load = replace(load, by_muon=min(load.trained, shape.block_weights))
    return predicted_memory(shape, load, how)
