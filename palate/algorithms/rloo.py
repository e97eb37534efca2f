"""REINFORCE with a leave-one-out baseline (Ahmadian 2024, arXiv:2402.14740).

There is no importance ratio, so a batch of rollouts is good for exactly one update.
"""

import torch

from palate.algorithms.grpo import policy_metrics
from palate.algorithms.rlhf import loss_kl, sequence_rewards
from palate.batches.experience import Experience, Rollouts
from palate.config.stages import RlooConfig
from palate.interfaces import Loss, Outputs
from palate.maths import reductions
from palate.maths.advantages import leave_one_out, on_tokens
from palate.maths.surrogates import policy_gradient


def prepare(rollouts: Rollouts, config: RlooConfig, *, kl_coef: float) -> Experience:
    """A_i = R_i - mean of the other responses' R; R is the score less coef times sequence k1."""
    rewards = sequence_rewards(
        rollouts, config.kl, kl_coef=kl_coef, missing_eos_penalty=config.missing_eos_penalty
    )
    advantages = leave_one_out(rewards, rollouts.group_index)
    zeros = torch.zeros_like(rollouts.old_logprobs)
    return Experience(
        mask=rollouts.mask,
        old_logprobs=rollouts.old_logprobs,
        ref_logprobs=rollouts.ref_logprobs,
        advantages=on_tokens(advantages, rollouts.mask),
        old_values=zeros,
        returns=zeros,
    )


def loss(outputs: Outputs, experience: Experience, config: RlooConfig, *, kl_coef: float) -> Loss:
    """-A * log pi(response), summed over tokens and averaged over responses."""
    per_token = policy_gradient(outputs.logprobs, experience.advantages)
    per_token = per_token - config.entropy_coef * outputs.entropy
    if config.kl.placement == "loss":
        per_token = per_token + kl_coef * loss_kl(outputs.logprobs, experience, config.kl)
    total = reductions.sequence_sum(per_token, experience.mask)
    ratio = torch.ones_like(per_token)
    return Loss(
        sum=total.sum,
        weight=total.weight,
        metrics=policy_metrics(outputs, experience, ratio, total, low=0.5, high=1.0),
    )
