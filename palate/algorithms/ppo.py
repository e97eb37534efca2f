"""Proximal policy optimization for language models (Schulman 2017, arXiv:1707.06347; Ouyang 2022).

Per-token k1 in the reward, the score once at the last token, GAE without bootstrapping past the
end, ratio and value clipping, advantages whitened over valid tokens after returns are formed.
"""

from dataclasses import replace

from palate.algorithms.rlhf import clipped_loss, clipped_terms, token_rewards, without_critic
from palate.batches.experience import Experience, Rollouts
from palate.batches.metrics import Mean, Metrics
from palate.config.onpolicy import PpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import reductions
from palate.maths.advantages import gae, whitened
from palate.maths.surrogates import (
    clipped_value_loss,
    token_ratio,
    value_loss,
)


def prepare(rollouts: Rollouts, config: PpoConfig, *, kl_coef: float) -> Experience:
    """Rewards per token, then advantages and returns by GAE."""
    rewards = token_rewards(rollouts, config, kl_coef=kl_coef)
    estimate = gae(
        rewards, rollouts.values, rollouts.mask, gamma=config.gamma, lam=config.gae_lambda
    )
    advantages = estimate.advantages
    if config.whiten_advantages:
        advantages = whitened(advantages, rollouts.mask)
    made = without_critic(rollouts, advantages, config)
    return replace(made, old_values=rollouts.values, returns=estimate.returns)


def loss(outputs: Outputs, experience: Experience, config: PpoConfig, *, kl_coef: float) -> Loss:
    """Clipped surrogate per token, less the entropy bonus, plus the KL when it is in the loss."""
    ratio = token_ratio(outputs.logprobs, experience.old_logprobs, experience.mask)
    terms = clipped_terms(ratio, experience.advantages, config)
    return clipped_loss(terms, outputs, experience, config, kl_coef=kl_coef)


def critic_loss(outputs: Outputs, experience: Experience, config: PpoConfig) -> Loss:
    """0.5 * squared error to the returns, clipped around the rollout's values; a token mean."""
    values, mask = outputs.values, experience.mask
    if config.value_clip > 0:
        per_token = clipped_value_loss(
            values, experience.old_values, experience.returns, clip=config.value_clip
        )
    else:
        per_token = value_loss(values, experience.returns)
    total = reductions.token_mean(per_token, mask)
    return Loss(
        sum=total.sum,
        weight=total.weight,
        metrics=Metrics({"critic/loss": Mean(float(total.sum.detach()), total.weight)}),
    )


def explained_variance(experience: Experience) -> float:
    """1 - Var(returns - values) / Var(returns) over valid tokens of the rollout; a fraction."""
    mask = experience.mask
    returns = experience.returns[mask].double()
    errors = returns - experience.old_values[mask].double()
    variance = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1.0 - float(errors.var(correction=0)) / variance if variance > 0 else 0.0
