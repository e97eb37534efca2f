"""Group relative policy optimization (Shao 2024, arXiv:2402.03300) and what was made of it.

Unlike the paper, the defaults keep the policy gradient: leave-one-out baseline, no division by the
group's standard deviation, a constant length instead of 1/|o| (Liu 2025, arXiv:2503.20783), and
the KL in the reward, where it optimises the KL-regularised objective. The published method,
Dr.GRPO, DAPO, GSPO and CISPO are presets (`palate/config/presets.py`).
"""

import torch

from palate.algorithms.rlhf import (
    Surrogate,
    clipped_loss,
    clipped_terms,
    importance_ratio,
    sequence_rewards,
    without_critic,
)
from palate.batches.experience import Experience, Rollouts
from palate.config.onpolicy import GrpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import advantages as adv
from palate.maths.surrogates import cispo_surrogate, weight_clipped


def group_advantages(
    rewards: torch.Tensor, group_index: torch.Tensor, config: GrpoConfig
) -> torch.Tensor:
    """[response] how much better a response is than its group."""
    baseline = {"leave_one_out": adv.leave_one_out, "group_mean": adv.group_mean_centered}
    centered = baseline[config.baseline](rewards, group_index)
    match config.scale:
        case "none":
            return centered
        case "group":
            return adv.group_scaled(centered, rewards, group_index)
        case "batch":
            return adv.batch_scaled(centered)


def prepare(rollouts: Rollouts, config: GrpoConfig, *, kl_coef: float) -> Experience:
    """Every token of a response carries the response's group-relative advantage."""
    rewards = sequence_rewards(rollouts, config, kl_coef=kl_coef)
    advantages = group_advantages(rewards, rollouts.group_index, config)
    return without_critic(rollouts, adv.on_tokens(advantages, rollouts.mask), config)


def loss(outputs: Outputs, experience: Experience, config: GrpoConfig, *, kl_coef: float) -> Loss:
    """The chosen surrogate per token, with its ratio and bounds, regularized and reduced."""
    logprobs = outputs.logprobs
    ratio = importance_ratio(logprobs, experience, config)
    advantages, low, high = experience.advantages, config.clip_low, config.clip_high
    match config.surrogate:
        case "clipped":
            terms = clipped_terms(ratio, advantages, config)
        case "cispo":
            per_token = cispo_surrogate(ratio, logprobs, advantages, low=low, high=high)
            terms = Surrogate(per_token, weight_clipped(ratio, low=low, high=high))
    return clipped_loss(terms, outputs, experience, config, kl_coef=kl_coef)
