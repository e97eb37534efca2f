"""REINFORCE (Williams 1992) with neither critic nor groups, up to REINFORCE++ (Hu 2025).

A token is credited with what comes after it: the score at the end, less the KL of its own and of
later tokens where the KL is in the reward. REINFORCE++ (arXiv:2501.03262) standardizes that over
the whole step and adds PPO's ratio; both of its variants are presets.
"""

import torch

from palate.algorithms.rlhf import (
    Surrogate,
    clipped_loss,
    clipped_terms,
    sequence_rewards,
    token_rewards,
    without_critic,
)
from palate.batches.experience import Experience, Rollouts
from palate.config.onpolicy import ReinforceConfig
from palate.interfaces import Loss, Outputs
from palate.maths import advantages as adv
from palate.maths.surrogates import (
    policy_gradient,
    token_ratio,
)


def baseline(
    rewards: torch.Tensor, group_index: torch.Tensor, config: ReinforceConfig
) -> torch.Tensor:
    """[response] what a response's return is compared with; each is a constant of its prompt."""
    match config.baseline:
        case "none":
            return torch.zeros_like(rewards)
        case "batch_mean":
            return rewards.mean().expand_as(rewards)
        case "group_mean":
            return rewards - adv.group_mean_centered(rewards, group_index)


def prepare(rollouts: Rollouts, config: ReinforceConfig, *, kl_coef: float) -> Experience:
    """A_t = sum of the rewards from token t on, less the baseline; whitened if asked for."""
    mask = rollouts.mask
    rewards = token_rewards(rollouts, config, kl_coef=kl_coef)
    to_go = adv.gae(rewards, torch.zeros_like(rewards), mask, gamma=1.0, lam=1.0).returns
    whole = sequence_rewards(rollouts, config, kl_coef=kl_coef)
    compared = baseline(whole, rollouts.group_index, config)
    advantages = to_go - adv.on_tokens(compared, mask)
    if config.whiten_advantages:
        advantages = adv.whitened(advantages, mask)
    return without_critic(rollouts, advantages, config)


def loss(
    outputs: Outputs, experience: Experience, config: ReinforceConfig, *, kl_coef: float
) -> Loss:
    """-A_t log pi_t, or PPO's clipped surrogate, regularized and reduced."""
    advantages, mask = experience.advantages, experience.mask
    match config.surrogate:
        case "policy_gradient":
            gradient = policy_gradient(outputs.logprobs, advantages)
            terms = Surrogate(gradient, torch.zeros_like(mask))
        case "clipped":
            ratio = token_ratio(outputs.logprobs, experience.old_logprobs, mask)
            terms = clipped_terms(ratio, advantages, config)
    return clipped_loss(terms, outputs, experience, config, kl_coef=kl_coef)
