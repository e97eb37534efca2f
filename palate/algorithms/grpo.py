"""Group relative policy optimization (Shao 2024, arXiv:2402.03300), with Dr.GRPO's corrections.

Unlike the paper, the defaults keep the policy gradient: leave-one-out baseline, no division by the
group's standard deviation, a constant length instead of 1/|o| (Liu 2025, arXiv:2503.20783), and
the KL in the reward, where it optimises the KL-regularised objective.
"""

import torch

from palate.algorithms.rlhf import loss_kl, sequence_rewards
from palate.batches.experience import Experience, Rollouts
from palate.batches.metrics import Mean, Metrics
from palate.config.stages import GrpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import advantages as adv
from palate.maths import reductions
from palate.maths.surrogates import clip_fraction, clipped_surrogate, token_ratio


def group_advantages(
    rewards: torch.Tensor, group_index: torch.Tensor, config: GrpoConfig
) -> torch.Tensor:
    """[response] how much better a response is than its group."""
    if config.scale == "group":
        return adv.group_standardized(rewards, group_index)
    if config.baseline == "leave_one_out":
        centered = adv.leave_one_out(rewards, group_index)
    else:
        centered = adv.group_mean_centered(rewards, group_index)
    return adv.batch_scaled(centered) if config.scale == "batch" else centered


def prepare(rollouts: Rollouts, config: GrpoConfig, *, kl_coef: float) -> Experience:
    """Every token of a response carries the response's group-relative advantage."""
    rewards = sequence_rewards(
        rollouts, config.kl, kl_coef=kl_coef, missing_eos_penalty=config.missing_eos_penalty
    )
    advantages = group_advantages(rewards, rollouts.group_index, config)
    zeros = torch.zeros_like(rollouts.old_logprobs)
    return Experience(
        mask=rollouts.mask,
        old_logprobs=rollouts.old_logprobs,
        ref_logprobs=rollouts.ref_logprobs,
        advantages=adv.on_tokens(advantages, rollouts.mask),
        old_values=zeros,
        returns=zeros,
    )


def reduced(
    per_token: torch.Tensor, mask: torch.Tensor, reduction: str, *, length: int
) -> reductions.Reduced:
    """The configured reduction of a per-token loss to (sum, weight)."""
    match reduction:
        case "token_mean":
            return reductions.token_mean(per_token, mask)
        case "sequence_mean":
            return reductions.sequence_mean(per_token, mask)
        case _:
            return reductions.constant(per_token, mask, length=length)


def loss(outputs: Outputs, experience: Experience, config: GrpoConfig, *, kl_coef: float) -> Loss:
    """Clipped surrogate per token, less the entropy bonus, plus the KL when it is in the loss."""
    mask = experience.mask
    ratio = token_ratio(outputs.logprobs, experience.old_logprobs, mask)
    bounds = {"low": config.clip_low, "high": config.clip_high}
    per_token = clipped_surrogate(ratio, experience.advantages, **bounds)
    per_token = per_token - config.entropy_coef * outputs.entropy
    if config.kl.placement == "loss":
        per_token = per_token + kl_coef * loss_kl(outputs.logprobs, experience, config.kl)
    total = reduced(per_token, mask, config.reduction, length=config.sampling.max_tokens)
    return Loss(
        sum=total.sum,
        weight=total.weight,
        metrics=policy_metrics(outputs, experience, ratio, total, **bounds),
    )


def policy_metrics(
    outputs: Outputs,
    experience: Experience,
    ratio: torch.Tensor,
    total: reductions.Reduced,
    *,
    low: float,
    high: float,
) -> Metrics:
    """Clip fraction, entropy, KL(old || policy) per token, KL(policy || reference) per response.

    `kl/updated_policy` weighs each token's k1 by its ratio: the rollouts are the old policy's.
    """
    mask = experience.mask
    tokens = float(mask.sum())
    clipped = clip_fraction(ratio, experience.advantages, low=low, high=high) & mask
    with torch.no_grad():
        entropy = reductions.masked_sum(outputs.entropy, mask).sum()
        drift = reductions.masked_sum(experience.old_logprobs - outputs.logprobs, mask).sum()
        moved = ratio * (outputs.logprobs - experience.ref_logprobs)
        kl = reductions.masked_sum(moved, mask).sum()
    return Metrics(
        {
            "policy/loss": Mean(float(total.sum.detach()), total.weight),
            "policy/clip_fraction": Mean(float(clipped.sum()), tokens),
            "policy/entropy": Mean(float(entropy), tokens),
            "kl/old_policy": Mean(float(drift), tokens),
            "kl/updated_policy": Mean(float(kl), float(len(mask))),
        }
    )
