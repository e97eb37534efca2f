"""Proximal policy optimization for language models (Schulman 2017, arXiv:1707.06347; Ouyang 2022).

Per-token k1 in the reward, the score once at the last token, GAE without bootstrapping past the
end, ratio and value clipping, advantages whitened over valid tokens after returns are formed.
"""

from palate.algorithms.grpo import policy_metrics, reduced
from palate.algorithms.rlhf import loss_kl, shaped_scores
from palate.batches.experience import Experience, Rollouts
from palate.batches.metrics import Mean, Metrics
from palate.config.stages import PpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import kl as kl_maths
from palate.maths import reductions
from palate.maths.advantages import gae, token_rewards, whitened
from palate.maths.surrogates import (
    clipped_surrogate,
    clipped_value_loss,
    token_ratio,
    value_loss,
)


def prepare(rollouts: Rollouts, config: PpoConfig, *, kl_coef: float) -> Experience:
    """Rewards per token, then advantages and returns by GAE."""
    scores = shaped_scores(rollouts, missing_eos_penalty=config.missing_eos_penalty)
    k1 = kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs)
    coef = kl_coef if config.kl.placement == "reward" else 0.0
    rewards = token_rewards(scores, k1, rollouts.mask, coef=coef)
    estimate = gae(
        rewards, rollouts.values, rollouts.mask, gamma=config.gamma, lam=config.gae_lambda
    )
    advantages = estimate.advantages
    if config.whiten_advantages:
        advantages = whitened(advantages, rollouts.mask)
    return Experience(
        mask=rollouts.mask,
        old_logprobs=rollouts.old_logprobs,
        ref_logprobs=rollouts.ref_logprobs,
        advantages=advantages,
        old_values=rollouts.values,
        returns=estimate.returns,
    )


def loss(outputs: Outputs, experience: Experience, config: PpoConfig, *, kl_coef: float) -> Loss:
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
