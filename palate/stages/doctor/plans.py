"""A stage's arithmetic in words, and the objective that its settings really optimize."""

import math

from palate.config import objectives
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.stages import DpoConfig, PreferenceLoss, PretrainConfig, RewardConfig, SftConfig
from palate.stages.doctor.verdicts import Exam, counted, ok, problem, warning
from palate.training.order import num_updates


def online_plan(config: AnyOnPolicyConfig, prompts: int) -> Exam[None]:
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
    rows = min(rows, config.limit or rows)
    total = num_updates(rows, batch=batch, epochs=config.epochs, at_most=config.max_updates)
    per_pass = math.ceil(rows / batch)
    yield ok(
        f"{counted(rows, noun)}, {batch:,} per update = {counted(per_pass, 'update')} per pass; "
        f"{_length(config)} = {counted(total, 'update')}"
    )


def pretrain_plan(config: PretrainConfig, rows: int, tokens: int) -> Exam[int]:
    """Updates of pretraining, and how many rows one of them has; both counted from a sample."""
    batch = min(rows, max(1, config.batch_tokens * rows // tokens))
    total = num_updates(rows, batch=batch, epochs=config.epochs, at_most=config.max_updates)
    yield ok(
        f"about {tokens:,} tokens in {counted(rows, 'row')} of at most {config.block_tokens}; "
        f"{config.batch_tokens:,} tokens = {counted(batch, 'row')} per update; "
        f"{_length(config)} = {counted(total, 'update')}"
    )
    return batch


def _length(config: PretrainConfig | SftConfig | RewardConfig | DpoConfig) -> str:
    passes = _passes(config.epochs)
    return f"{passes}, at most {config.max_updates:,} updates" if config.max_updates else passes


def _passes(n: float) -> str:
    return f"{n:.3g} {'pass' if n == 1 else 'passes'}"


def objective(config: AnyOnPolicyConfig) -> Exam[None]:
    """One sentence on what the KL settings optimize, and what else moves that."""
    text = f"objective: {objectives.objective(config)}"
    if config.kl.coef == 0:
        yield warning(text, "set kl.coef above 0")
    elif objectives.PLACED[config.kl.placement, config.kl.estimator].exact:
        yield ok(text)
    else:
        remedy = 'set kl.placement = "reward", or kl.estimator = "k1_cumulative"'
        refused = config.kl.estimator == "k1"
        yield problem(text, remedy) if refused else warning(text, remedy)
    for caveat in objectives.caveats(config):
        yield warning(caveat.text, caveat.remedy)


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
