"""What on-policy methods share: the penalized score, the ends of their losses, what they log."""

from typing import Literal, NamedTuple

import torch

from palate.batches.experience import Experience, Rollouts
from palate.batches.metrics import Mean, Metrics
from palate.config.common import KlConfig
from palate.config.onpolicy import (
    AnyOnPolicyConfig,
    ClippedConfig,
    GrpoConfig,
    OnPolicyConfig,
    PolicyGradientConfig,
)
from palate.interfaces import Loss, Outputs
from palate.maths import advantages as adv
from palate.maths import kl as kl_maths
from palate.maths import reductions
from palate.maths.reductions import masked_sum
from palate.maths.surrogates import (
    clip_fraction,
    clipped_surrogate,
    dual_clip_binds,
    dual_clipped_surrogate,
    sequence_ratio,
    token_ratio,
)

Reduction = Literal["token_mean", "sequence_mean", "constant"]


def shaped_scores(
    scores: torch.Tensor, lengths: torch.Tensor, finished: torch.Tensor, config: OnPolicyConfig
) -> torch.Tensor:
    """[response] raw scores, less the penalty where a response never ended, or its ramp (DAPO)."""
    share = (~finished).to(scores.dtype)
    if config.overlong_fraction > 0:
        longest, fraction = config.sampling.max_tokens, config.overlong_fraction
        share = adv.overlong(lengths, longest=longest, fraction=fraction)
    return scores - config.missing_eos_penalty * share


def scores_of(rollouts: Rollouts, config: OnPolicyConfig) -> torch.Tensor:
    """[response] the shaped scores of rollouts."""
    lengths = rollouts.mask.sum(dim=1)
    return shaped_scores(rollouts.scores, lengths, rollouts.finished, config)


def sequence_rewards(
    rollouts: Rollouts, config: AnyOnPolicyConfig, *, kl_coef: float
) -> torch.Tensor:
    """[response] shaped score, less coef * sum of k1 when the KL is placed in the reward."""
    k1 = kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs)
    coef = kl_coef if config.kl.placement == "reward" else 0.0
    return adv.sequence_rewards(scores_of(rollouts, config), k1, rollouts.mask, coef=coef)


def token_rewards(
    rollouts: Rollouts, config: PolicyGradientConfig, *, kl_coef: float
) -> torch.Tensor:
    """[response, time] the shaped score at the last token, less each token's KL in the reward."""
    k1 = kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs)
    coef = kl_coef if config.kl.placement == "reward" else 0.0
    return adv.token_rewards(scores_of(rollouts, config), k1, rollouts.mask, coef=coef)


def without_critic(
    rollouts: Rollouts, advantages: torch.Tensor, config: OnPolicyConfig
) -> Experience:
    """What methods without a critic learn from; `advantages` are [response, time]."""
    zeros = torch.zeros_like(rollouts.old_logprobs)
    return Experience(
        mask=rollouts.mask,
        old_logprobs=rollouts.old_logprobs,
        ref_logprobs=rollouts.ref_logprobs,
        advantages=advantages,
        old_values=zeros,
        returns=zeros,
        scores=scores_of(rollouts, config),
        group_index=rollouts.group_index,
    )


def loss_kl(logprobs: torch.Tensor, experience: Experience, kl: KlConfig) -> torch.Tensor:
    """[response, time] the in-loss KL term under the chosen estimator, nats per token."""
    match kl.estimator:
        case "k1":
            return kl_maths.k1(logprobs, experience.ref_logprobs)
        case "k2":
            return kl_maths.k2(logprobs, experience.ref_logprobs)
        case "k3":
            return kl_maths.k3(logprobs, experience.ref_logprobs)
        case "k1_cumulative":
            return kl_maths.k1_cumulative(
                logprobs, experience.ref_logprobs, experience.old_logprobs, experience.mask
            )
        case "k3_cumulative":
            return kl_maths.k3_cumulative(
                logprobs, experience.ref_logprobs, experience.old_logprobs, experience.mask
            )


def regularized(
    per_token: torch.Tensor,
    outputs: Outputs,
    experience: Experience,
    config: PolicyGradientConfig,
    *,
    kl_coef: float,
) -> torch.Tensor:
    """A surrogate loss per token, less the entropy bonus, plus the KL when it is in the loss."""
    per_token = per_token - config.entropy_coef * outputs.entropy
    if config.kl.placement == "loss":
        per_token = per_token + kl_coef * loss_kl(outputs.logprobs, experience, config.kl)
    return per_token


def reduced(
    per_token: torch.Tensor, mask: torch.Tensor, reduction: Reduction, *, length: int
) -> reductions.Reduced:
    """The configured reduction of a per-token loss to (sum, weight)."""
    match reduction:
        case "token_mean":
            return reductions.token_mean(per_token, mask)
        case "sequence_mean":
            return reductions.sequence_mean(per_token, mask)
        case "constant":
            return reductions.constant(per_token, mask, length=length)


def importance_ratio(
    logprobs: torch.Tensor, experience: Experience, config: ClippedConfig
) -> torch.Tensor:
    """[response, time] the ratio that the bounds clip: each token's, or its response's (GSPO)."""
    whole = isinstance(config, GrpoConfig) and config.ratio == "sequence"
    ratio = sequence_ratio if whole else token_ratio
    return ratio(logprobs, experience.old_logprobs, experience.mask)


class Surrogate(NamedTuple):
    """A surrogate loss [response, time] before its reduction, and where clipping binds."""

    per_token: torch.Tensor
    clipped: torch.Tensor


def clipped_terms(
    ratio: torch.Tensor, advantages: torch.Tensor, config: ClippedConfig
) -> Surrogate:
    """PPO's clipped surrogate, dual-clipped if so configured."""
    low, high, dual = config.clip_low, config.clip_high, config.dual_clip
    binds = clip_fraction(ratio, advantages, low=low, high=high)
    if not dual:
        return Surrogate(clipped_surrogate(ratio, advantages, low=low, high=high), binds)
    per_token = dual_clipped_surrogate(ratio, advantages, low=low, high=high, dual=dual)
    return Surrogate(per_token, binds | dual_clip_binds(ratio, advantages, dual=dual))


def clipped_loss(
    surrogate: Surrogate,
    outputs: Outputs,
    experience: Experience,
    config: ClippedConfig,
    *,
    kl_coef: float,
) -> Loss:
    """The loss of a method with a ratio; with the share of tokens where its clipping binds."""
    mask = experience.mask
    per_token = regularized(surrogate.per_token, outputs, experience, config, kl_coef=kl_coef)
    total = reduced(per_token, mask, config.reduction, length=config.sampling.max_tokens)
    share = Mean(float((surrogate.clipped & mask).sum()), float(mask.sum()))
    return Loss(
        sum=total.sum,
        weight=total.weight,
        metrics=policy_metrics(outputs, experience, total)
        + Metrics({"policy/clip_fraction": share}),
    )


def policy_metrics(outputs: Outputs, experience: Experience, total: reductions.Reduced) -> Metrics:
    """Entropy, KL(old || policy) per token, KL(policy || reference) per response.

    `kl/updated_policy` weighs each token's k1 by its ratio: the rollouts are the old policy's.
    """
    mask = experience.mask
    tokens = float(mask.sum())
    with torch.no_grad():
        ratio = token_ratio(outputs.logprobs, experience.old_logprobs, mask)
        entropy = masked_sum(outputs.entropy, mask).sum()
        drift = masked_sum(experience.old_logprobs - outputs.logprobs, mask).sum()
        kl = masked_sum(ratio * (outputs.logprobs - experience.ref_logprobs), mask).sum()
    return Metrics(
        {
            "policy/loss": Mean(float(total.sum.detach()), total.weight),
            "policy/entropy": Mean(float(entropy), tokens),
            "kl/old_policy": Mean(float(drift), tokens),
            "kl/updated_policy": Mean(float(kl), float(len(mask))),
        }
    )


def rollout_metrics(rollouts: Rollouts, rewards: torch.Tensor) -> Metrics:
    """Quantities of a step that need no update; `rewards` [response] is what is maximized.

    `group/dead_fraction` is not there for groups of one, which have nobody to differ from.
    """
    mask, n = rollouts.mask, float(len(rollouts.scores))
    tokens = float(mask.sum())
    lengths = mask.sum(dim=1)
    k1 = masked_sum(kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs), mask)
    mismatch = masked_sum((rollouts.sampler_logprobs - rollouts.old_logprobs).abs(), mask)
    means = {
        "reward/score": Mean(float(rollouts.scores.double().sum()), n),
        "reward/mean": Mean(float(rewards.double().sum()), n),
        "reward/score_squared": Mean(float(rollouts.scores.double().square().sum()), n),
        "kl/policy_reference": Mean(float(k1.double().sum()), n),
        "response/length": Mean(float(lengths.sum()), n),
        "response/finished": Mean(float(rollouts.finished.sum()), n),
        "policy/sampler_mismatch": Mean(float(mismatch.double().sum()), tokens),
    }
    live = adv.live_groups(rewards, rollouts.group_index)
    if len(live) < len(rewards):
        means["group/dead_fraction"] = Mean(float((~live).sum()), float(len(live)))
    return Metrics(means)
