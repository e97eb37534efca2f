"""A stage's arithmetic in words, and the objective that its settings really optimize."""

import math

from palate.config.common import KlConfig
from palate.config.stages import (
    DpoConfig,
    GrpoConfig,
    PpoConfig,
    PreferenceLoss,
    PretrainConfig,
    RewardConfig,
    SftConfig,
)
from palate.stages.doctor.verdicts import Exam, Finding, Level, counted, ok, problem, warning
from palate.training.improve import OnPolicyConfig
from palate.training.order import num_updates


def online_plan(config: OnPolicyConfig, prompts: int) -> Exam[None]:
    """Rollouts, minibatches and updates of a stage that draws from so many prompts."""
    batch = min(config.batch_prompts, prompts)
    size = math.ceil(batch / config.minibatches)
    updates = config.epochs * config.minibatches
    yield ok(
        f"{counted(batch, 'prompt')} x {counted(config.k, 'response')} = {batch * config.k:,} per "
        f"step, {counted(config.minibatches, 'minibatch')} of {size * config.k:,}, "
        f"{counted(config.epochs, 'epoch')} = {counted(updates, 'update')}; "
        f"{counted(config.steps, 'step')} = {counted(config.steps * updates, 'update')}, "
        f"{_passes(config.steps * batch / prompts)} over the prompts"
    )
    if batch < config.batch_prompts:
        yield warning(
            f"there are only {counted(prompts, 'prompt')}: a step has {batch:,}, "
            f"not batch_prompts = {config.batch_prompts:,}",
            "give it more prompts, or lower batch_prompts",
        )
    if batch % config.minibatches:
        yield warning(
            f"{counted(batch, 'prompt')} do not split into {config.minibatches} equal minibatches",
            "make batch_prompts a multiple of minibatches",
        )
    if config.steps == 0:
        yield warning("steps = 0: nothing will be trained", "set steps")


def fixed_plan(config: SftConfig | RewardConfig | DpoConfig, rows: int, noun: str) -> Exam[None]:
    """Updates of a stage over fixed data."""
    batch = config.batch_rows if isinstance(config, SftConfig) else config.batch_groups
    total = num_updates(rows, batch=batch, epochs=config.epochs)
    per_pass = math.ceil(rows / batch)
    yield ok(
        f"{counted(rows, noun)}, {batch:,} per update = {counted(per_pass, 'update')} per pass; "
        f"{_passes(config.epochs)} = {counted(total, 'update')}"
    )


def pretrain_plan(config: PretrainConfig, rows: int, tokens: int) -> Exam[int]:
    """Updates of pretraining, and how many rows one of them has; both counted from a sample."""
    batch = min(rows, max(1, config.batch_tokens * rows // tokens))
    total = num_updates(rows, batch=batch, epochs=config.epochs)
    yield ok(
        f"about {tokens:,} tokens in {counted(rows, 'row')} of at most {config.block_tokens}; "
        f"{config.batch_tokens:,} tokens = {counted(batch, 'row')} per update; "
        f"{_passes(config.epochs)} = {counted(total, 'update')}"
    )
    return batch


def _passes(n: float) -> str:
    return f"{n:.3g} {'pass' if n == 1 else 'passes'}"


_REGULARIZED = (
    "maximizes E[score] - coef * KL(policy || reference) over whole responses; "
    "the optimum is reference * exp(score / coef) / Z"
)
_LATER = "it leaves out what a token does to the KL of later tokens"
OBJECTIVES: dict[tuple[str, str], tuple[Level, str]] = {
    ("reward", "k1"): ("ok", f"k1 in the reward {_REGULARIZED}"),
    ("loss", "k1_cumulative"): ("ok", f"cumulative k1 in the loss {_REGULARIZED}"),
    ("loss", "k3_cumulative"): ("ok", f"cumulative k3 in the loss {_REGULARIZED}"),
    ("loss", "k2"): (
        "warning",
        f"k2 per token in the loss is not the KL-regularized objective: {_LATER}; each token goes "
        "to reference * exp(Q / coef) with Q the mean score to come (tree-k2)",
    ),
    ("loss", "k3"): (
        "warning",
        f"k3 per token in the loss is not the KL-regularized objective: {_LATER} and pulls as the "
        "forward KL does; each token goes to coef * reference / (lambda - Q) (tree-k3)",
    ),
    ("loss", "k1"): (
        "problem",
        "k1 in the loss regularizes nothing: its expected gradient is zero, and the policy "
        "collapses to the highest score",
    ),
}
"""What each (placement, estimator) optimizes (Tang and Munos 2025, arXiv:2506.09477)."""


def objective(config: OnPolicyConfig) -> Exam[None]:
    """One sentence on what the KL settings optimize, and what bends it."""
    kl = config.kl
    level, text = OBJECTIVES[kl.placement, kl.estimator]
    if kl.coef == 0:
        yield warning(
            "objective: kl.coef = 0 maximizes E[score] alone, which over-optimizes a learned "
            "reward; no controller moves it away from 0",
            "set kl.coef above 0",
        )
        return
    remedy = (
        "" if level == "ok" else 'set kl.placement = "reward", or kl.estimator = "k1_cumulative"'
    )
    yield Finding(level=level, text=f"objective: {text} (coef {_coefficient(kl)})", remedy=remedy)
    if isinstance(config, GrpoConfig) and kl.placement == "loss":
        yield from _bent(config)
    if isinstance(config, PpoConfig) and config.gamma < 1:
        yield warning(
            f"gamma = {config.gamma} discounts the score at the end and the KL of later tokens",
            "set gamma = 1",
        )


def _coefficient(kl: KlConfig) -> str:
    match kl.control:
        case "soft":
            return f"= {kl.coef:g}"
        case "adaptive":
            return f"from {kl.coef:g}, steered to a KL of {kl.target:g} nats"
        case "hard":
            return f"from {kl.coef:g}, raised until the certified KL is at most {kl.target:g} nats"


def _bent(config: GrpoConfig) -> Exam[None]:
    """With the KL in the loss, what scales the advantage scales the coefficient the other way."""
    if config.scale != "none":
        yield warning(
            f'scale = "{config.scale}" divides the score but not the KL by a standard deviation: '
            "the effective coef is coef * std",
            'set scale = "none", or kl.placement = "reward"',
        )
    elif config.baseline == "group_mean":
        yield warning(
            f"a group mean that includes the response itself makes the effective coef "
            f"{config.k}/{config.k - 1} of kl.coef",
            'set baseline = "leave_one_out"',
        )
    if config.reduction == "sequence_mean":
        yield warning(
            "sequence_mean weighs tokens of short responses more, which moves the optimum",
            'set reduction = "constant"',
        )


PREFERENCE_OBJECTIVES: dict[PreferenceLoss, str] = {
    "sigmoid": "the KL-regularized optimum of the Bradley-Terry reward behind the preferences",
    "cdpo": "DPO on labels taken to be flipped at label_smoothing, a smaller margin at the optimum",
    "robust": "DPO's own optimum, unbiased when labels are flipped at label_smoothing",
    "ipo": "margins log(pi/pi_ref) of 1 / (2 beta) between chosen and rejected, and no more",
    "hinge": "margins beta * log(pi/pi_ref) of at least 1; beyond that nothing pulls",
    "simpo": "mean log-probabilities apart by simpo_gamma / beta, without a reference",
    "orpo": "the chosen responses' likelihood plus an odds ratio, without a reference",
    "kto": "responses better or worse than the batch's mean KL from the reference",
}


def preference_objective(config: DpoConfig) -> Exam[None]:
    """One sentence on what the loss optimizes, with its beta."""
    yield ok(f"objective: {PREFERENCE_OBJECTIVES[config.loss]} (beta = {config.beta:g})")
    if config.loss == "kto" and config.batch_groups < 2:
        yield problem(
            "KTO estimates a KL from mismatched rows of a batch, and batch_groups is 1",
            "set batch_groups to 2 or more",
        )
