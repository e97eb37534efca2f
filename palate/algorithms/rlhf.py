"""What PPO, GRPO and RLOO share: the penalised score, the in-loss KL and the logged quantities."""

import torch

from palate.batches.experience import Experience, Rollouts
from palate.batches.metrics import Mean, Metrics
from palate.config.common import KlConfig
from palate.maths import advantages as adv
from palate.maths import kl as kl_maths
from palate.maths.reductions import masked_sum


def shaped_scores(rollouts: Rollouts, *, missing_eos_penalty: float) -> torch.Tensor:
    """[response] raw scores, less the penalty where the response never ended."""
    return rollouts.scores - missing_eos_penalty * (~rollouts.finished).float()


def sequence_rewards(
    rollouts: Rollouts, kl: KlConfig, *, kl_coef: float, missing_eos_penalty: float
) -> torch.Tensor:
    """[response] shaped score, less coef * sum of k1 when the KL is placed in the reward."""
    scores = shaped_scores(rollouts, missing_eos_penalty=missing_eos_penalty)
    k1 = kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs)
    coef = kl_coef if kl.placement == "reward" else 0.0
    return adv.sequence_rewards(scores, k1, rollouts.mask, coef=coef)


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


def rollout_metrics(rollouts: Rollouts, rewards: torch.Tensor) -> Metrics:
    """Quantities of a step that need no update; `rewards` [response] is what is maximised."""
    mask, n = rollouts.mask, float(len(rollouts.scores))
    tokens = float(mask.sum())
    lengths = mask.sum(dim=1)
    k1 = masked_sum(kl_maths.k1(rollouts.old_logprobs, rollouts.ref_logprobs), mask)
    mismatch = masked_sum((rollouts.sampler_logprobs - rollouts.old_logprobs).abs(), mask)
    groups = int(rollouts.group_index.max()) + 1
    alive = sum(
        float(rollouts.scores[rollouts.group_index == group].std(correction=0) > 0)
        for group in range(groups)
    )
    return Metrics(
        {
            "reward/score": Mean(float(rollouts.scores.double().sum()), n),
            "reward/mean": Mean(float(rewards.double().sum()), n),
            "reward/score_squared": Mean(float(rollouts.scores.double().square().sum()), n),
            "kl/policy_reference": Mean(float(k1.double().sum()), n),
            "response/length": Mean(float(lengths.sum()), n),
            "response/finished": Mean(float(rollouts.finished.sum()), n),
            "group/dead_fraction": Mean(groups - alive, groups),
            "policy/sampler_mismatch": Mean(float(mismatch.double().sum()), tokens),
        }
    )
