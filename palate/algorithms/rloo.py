"""REINFORCE with a leave-one-out baseline (Ahmadian 2024, arXiv:2402.14740).

There is no importance ratio, so a batch of rollouts is good for exactly one update.
"""

from palate.algorithms.rlhf import policy_metrics, regularized, sequence_rewards, without_critic
from palate.batches.experience import Experience, Rollouts
from palate.config.onpolicy import RlooConfig
from palate.interfaces import Loss, Outputs
from palate.maths import reductions
from palate.maths.advantages import leave_one_out, on_tokens
from palate.maths.surrogates import policy_gradient


def prepare(rollouts: Rollouts, config: RlooConfig, *, kl_coef: float) -> Experience:
    """A_i = R_i - mean of the other responses' R; R is the score less coef times sequence k1."""
    rewards = sequence_rewards(rollouts, config, kl_coef=kl_coef)
    advantages = leave_one_out(rewards, rollouts.group_index)
    return without_critic(rollouts, on_tokens(advantages, rollouts.mask), config)


def loss(outputs: Outputs, experience: Experience, config: RlooConfig, *, kl_coef: float) -> Loss:
    """-A * log pi(response), summed over tokens and averaged over responses."""
    per_token = policy_gradient(outputs.logprobs, experience.advantages)
    per_token = regularized(per_token, outputs, experience, config, kl_coef=kl_coef)
    total = reductions.sequence_sum(per_token, experience.mask)
    metrics = policy_metrics(outputs, experience, total)
    return Loss(sum=total.sum, weight=total.weight, metrics=metrics)
