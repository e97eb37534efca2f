"""What no single key can say: settings that contradict each other, references between stages."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from palate.config.base import Config
from palate.config.explain import nearest
from palate.config.fields import paths, value_at
from palate.config.onpolicy import (
    ClippedConfig,
    GrpoConfig,
    OnPolicyConfig,
    PolicyGradientConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.config.stages import LONGEST_NAME, DpoConfig, EvaluateConfig, PretrainConfig, Recipe


def check(config: Config) -> list[str]:
    """One line per contradiction in a section, each with its reason and remedy."""
    problems = [
        f"{path}: {value} is not a finite number"
        for path, value in _values(config)
        if isinstance(value, float) and not math.isfinite(value)
    ]
    problems += [
        f"{path}: {value} is beyond what anything here counts (at most {_LARGEST:,})"
        for path, value in _values(config)
        if isinstance(value, int) and abs(value) > _LARGEST
    ]
    problems += [f"{path}: is empty; {remedy}" for path, remedy in _empty(config)]
    for kind, rule in _RULES:
        if isinstance(config, kind):
            problems += rule(config)
    return problems


def check_references(config: Config, name: str, order: Sequence[str]) -> list[str]:
    """One line per `@stage` in stage `name` that no earlier stage of the recipe answers to."""
    earlier = order[: order.index(name)]
    problems: list[str] = []
    for path, target in references(config):
        if target in earlier:
            continue
        if target in order:
            reason = f"[{target}] does not come before [{name}]; move its table up"
        else:
            reason = f"the recipe has no stage {target}{nearest(target, order)}"
        known = ", ".join(f"@{stage}" for stage in earlier) or "none"
        problems.append(f"{path}: @{target}: {reason} (earlier stages: {known})")
    return problems


def references(config: Config) -> Iterator[tuple[str, str]]:
    """(dotted path, stage name) of every `@stage`, `@stage/file` and `file.py:function(@stage)`."""
    for path, value in _values(config):
        if isinstance(value, str):
            for target in re.findall(r"(?:^|\()@([\w-]+)", value):
                yield path, target


_LARGEST = 10**15


def _empty(config: Config) -> Iterator[tuple[str, str]]:
    """(dotted path, remedy) of every text that has to say something and does not."""
    for path, field in paths(type(config)) if not isinstance(config, Recipe) else ():
        value = value_at(config, path)
        if isinstance(value, tuple):
            if "" in value:
                yield path, "leave the empty text out of the list"
        elif isinstance(value, str) and field.default and not value.strip() and path != "title":
            yield path, f"leave it out for the default, {field.default}"


def _values(config: Config) -> Iterator[tuple[str, object]]:
    for path, _ in paths(type(config)):
        value = value_at(config, path)
        many = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
        yield from ((path, one) for one in many)


def _recipe(config: Recipe) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", config.name):
        yield f"name: {config.name[:80]!r} names a folder: letters, digits, -, _ and dots"
    if len(config.name) > LONGEST_NAME:
        yield f"name: {len(config.name):,} characters; a folder's name has at most {LONGEST_NAME}"


def _rewards(config: OnPolicyConfig) -> Iterator[str]:
    rewards, weights = config.rewards, config.reward_weights
    if not rewards:
        yield "reward: the list is empty; name a reward model, a verifier or a function"
    for again in sorted({one for one in rewards if rewards.count(one) > 1}):
        yield f"reward: {again} is named twice; name it once, with a larger weight"
    if weights and len(weights) != len(rewards):
        yield (
            f"reward_weights: {len(weights)} for {len(rewards)} rewards; give one weight for each "
            "reward, in order, or leave them out"
        )


def _on_policy(config: OnPolicyConfig) -> Iterator[str]:
    yield from _rewards(config)
    if config.sampling.top_p < 1:
        yield (
            f"sampling.top_p: {config.sampling.top_p} samples from a truncated policy but trains "
            "the whole one, so every ratio and KL is wrong; on-policy stages need 1.0"
        )
    if config.minibatches > config.batch_prompts:
        yield (
            f"minibatches: {config.batch_prompts} groups (batch_prompts) cannot be split into "
            f"{config.minibatches}"
        )
    if config.overlong_fraction > 0 and config.missing_eos_penalty == 0:
        yield (
            f"overlong_fraction: {config.overlong_fraction} is where missing_eos_penalty begins to "
            "rise, and that is 0; set missing_eos_penalty (DAPO: 1.0)"
        )
    if config.reference == "frozen" and _changed(config, "reference_decay"):
        yield 'reference_decay: a frozen reference would ignore it; set reference = "ema"'


def _kl(config: PolicyGradientConfig) -> Iterator[str]:
    kl = config.kl
    if kl.placement == "loss" and kl.estimator == "k1":
        yield (
            "kl.estimator: k1 in the loss has zero expected gradient, it does not regularise; "
            'use kl.placement = "reward" or another estimator (k1_cumulative is exact)'
        )
    if kl.placement == "reward" and kl.estimator != "k1":
        yield (
            f"kl.estimator: {kl.estimator} would be ignored, the KL in the reward is always "
            'k1; leave it out or set kl.placement = "loss"'
        )
    if kl.coef == 0 and kl.control != "soft":
        yield (
            f"kl.coef: {kl.control} control multiplies the coefficient, so 0 stays 0; start it "
            'above 0, or set kl.control = "soft"'
        )
    if kl.control == "hard" and config.reference == "ema":
        yield (
            "reference: a budget is a distance from where training started, and an ema moves; set "
            'reference = "frozen", or another kl.control'
        )


def _clipped(config: ClippedConfig) -> Iterator[str]:
    if 0 < config.dual_clip <= 1 + config.clip_high:
        yield (
            f"dual_clip: {config.dual_clip} is no looser than the bound of good tokens, "
            f"1 + clip_high = {1 + config.clip_high:g}; set a larger one (usual: 3), or 0 for none"
        )


def _grpo(config: GrpoConfig) -> Iterator[str]:
    if config.surrogate == "cispo" and config.ratio == "sequence":
        yield (
            "ratio: cispo weighs each token by its own ratio; a sequence's ratio weighs all of "
            'them alike and nothing would be kept; set ratio = "token" or surrogate = "clipped"'
        )
    if config.surrogate == "cispo" and config.dual_clip:
        yield (
            "dual_clip: cispo has clipped the weight of every token already; set dual_clip = 0, or "
            'surrogate = "clipped"'
        )
    if config.resample_rounds > 0 and config.kl.placement == "reward" and config.kl.coef > 0:
        yield (
            "resample_rounds: with the KL in the reward no two rewards of a group are equal, so no "
            "group would ever be replaced; set resample_rounds = 0, or kl.coef = 0"
        )


def _reinforce(config: ReinforceConfig) -> Iterator[str]:
    if config.surrogate == "policy_gradient":
        yield from _one_update(config, 'surrogate = "policy_gradient"')
        for name in ("clip_low", "clip_high", "dual_clip"):
            if _changed(config, name):
                yield f'{name}: there is no ratio to clip; set surrogate = "clipped"'
    if config.baseline == "group_mean" and config.k == 1:
        yield "baseline: a response alone in its group is its mean, every advantage is 0; raise k"
    if config.baseline == "batch_mean" and config.whiten_advantages:
        yield 'baseline: whiten_advantages subtracts the mean of the step; set baseline = "none"'


def _rloo(config: RlooConfig) -> Iterator[str]:
    yield from _one_update(config, "rloo")


def _one_update(config: OnPolicyConfig, method: str) -> Iterator[str]:
    for name, value in (("epochs", config.epochs), ("minibatches", config.minibatches)):
        if value > 1:
            yield (
                f"{name}: {value} would reuse rollouts of an older policy, which {method} has no "
                "ratio to correct for; one update per rollout (ppo and grpo can do more)"
            )


def _changed(config: Config, name: str) -> bool:
    return value_at(config, name) != type(config).model_fields[name].default


def _evaluate(config: EvaluateConfig) -> Iterator[str]:
    names = [model.removeprefix("@") for model in (config.baseline, *config.models)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"models: {', '.join(twice)} twice, counting the baseline; name each policy once"
    top_p = config.sampling.top_p
    if top_p < 1:
        yield (
            f"sampling.top_p: {top_p} samples from a truncated policy, and the KL "
            "that is reported would be another one's; set top_p = 1"
        )


def _dpo(config: DpoConfig) -> Iterator[str]:
    if config.label_smoothing > 0 and config.loss not in ("cdpo", "robust"):
        yield (
            f'label_smoothing: {config.loss} does not read it; use loss = "cdpo" or '
            '"robust", or leave it out'
        )
    if config.margin_coef > 0 and config.loss not in ("sigmoid", "cdpo", "robust", "hinge"):
        yield (
            f"margin_coef: {config.loss} has no margin of its own per pair; use sigmoid, cdpo, "
            "robust or hinge, or leave it out"
        )


def _pretrain(config: PretrainConfig) -> Iterator[str]:
    shape = config.architecture
    if shape.hidden_size % shape.heads:
        yield (
            f"architecture.heads: {shape.heads} heads do not divide hidden_size {shape.hidden_size}"
        )
    if config.block_tokens > shape.context:
        yield (
            f"block_tokens: {config.block_tokens} tokens do not fit into architecture.context "
            f"{shape.context}"
        )


_RULES: tuple[tuple[type[Config], Callable[..., Iterable[str]]], ...] = (
    (Recipe, _recipe),
    (OnPolicyConfig, _on_policy),
    (PolicyGradientConfig, _kl),
    (ClippedConfig, _clipped),
    (RlooConfig, _rloo),
    (ReinforceConfig, _reinforce),
    (GrpoConfig, _grpo),
    (DpoConfig, _dpo),
    (PretrainConfig, _pretrain),
    (EvaluateConfig, _evaluate),
)
"""Which sections have which rules."""
