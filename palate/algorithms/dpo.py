"""Direct preference optimization (Rafailov 2023, arXiv:2305.18290) and its family.

Log-probabilities are sums over the response's tokens, except where a method defines means (SimPO,
ORPO). The reference's sums are computed once, before training.
"""

from dataclasses import dataclass

import torch

from palate.batches.metrics import Mean, Metrics
from palate.batches.pairs import Pairs
from palate.config.stages import DpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import preference as maths
from palate.maths.reductions import masked_sum


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceTerms:
    """Per response of a micro-batch: summed log-probability, length, and log(pi / pi_ref)."""

    logprob: torch.Tensor
    length: torch.Tensor
    logratio: torch.Tensor


def terms(outputs: Outputs, mask: torch.Tensor, ref_logprob: torch.Tensor) -> PreferenceTerms:
    """[response] sums over counted tokens; `ref_logprob` [response] is the reference's sum."""
    logprob = masked_sum(outputs.logprobs, mask)
    return PreferenceTerms(logprob=logprob, length=mask.sum(dim=1), logratio=logprob - ref_logprob)


def pair_losses(responses: PreferenceTerms, pairs: Pairs, config: DpoConfig) -> torch.Tensor:
    """[pair] the configured loss of every preference, plus sft_coef times the chosen mean NLL."""
    chosen, rejected = pairs.winner, pairs.loser
    margin = maths.margin(responses.logratio[chosen], responses.logratio[rejected])
    mean = responses.logprob / responses.length.clamp(min=1)
    p, beta, smoothing = pairs.probability, config.beta, config.label_smoothing
    offset = config.margin_coef * pairs.margin
    match config.loss:
        case "sigmoid":
            losses = maths.sigmoid(margin, p, offset, beta=beta)
        case "cdpo":
            losses = maths.cdpo(margin, p, offset, beta=beta, smoothing=smoothing)
        case "robust":
            losses = maths.rdpo(margin, p, offset, beta=beta, smoothing=smoothing)
        case "ipo":
            losses = maths.ipo(margin, p, tau=beta)
        case "hinge":
            losses = maths.hinge(margin, p, offset, beta=beta)
        case "simpo":
            gamma = config.simpo_gamma
            losses = maths.simpo(mean[chosen], mean[rejected], p, beta=beta, gamma=gamma)
        case "orpo":
            odds = maths.orpo_odds(mean[chosen], mean[rejected], p)
            losses = config.orpo_coef * odds - mean[chosen]
        case "kto":
            raise AssertionError("KTO judges single responses; see kto_loss")
    return losses - config.sft_coef * mean[chosen]


def loss(
    outputs: Outputs,
    mask: torch.Tensor,
    ref_logprob: torch.Tensor,
    pairs: Pairs,
    config: DpoConfig,
) -> Loss:
    """The configured loss, averaged within a group, then over groups."""
    responses = terms(outputs, mask, ref_logprob)
    return averaged(pair_losses(responses, pairs, config), responses, pairs, beta=config.beta)


def averaged(
    per_pair: torch.Tensor, responses: PreferenceTerms, pairs: Pairs, *, beta: float
) -> Loss:
    """Losses of pairs, averaged within a group, then over groups."""
    total = (pairs.weight * per_pair).sum()
    implicit = beta * responses.logratio.detach().double()
    chosen, rejected = implicit[pairs.winner], implicit[pairs.loser]
    count = float(len(chosen))
    right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
    return Loss(
        sum=total,
        weight=pairs.num_groups,
        metrics=Metrics(
            {
                "dpo/loss": Mean(float(total.detach()), pairs.num_groups),
                "dpo/accuracy": Mean(float(right.sum()), count),
                "dpo/margin": Mean(float((chosen - rejected).sum()), count),
                "dpo/chosen_reward": Mean(float(chosen.sum()), count),
                "dpo/rejected_reward": Mean(float(rejected.sum()), count),
            }
        ),
    )


def kto_loss(
    outputs: Outputs,
    mask: torch.Tensor,
    ref_logprob: torch.Tensor,
    desirable: torch.Tensor,
    config: DpoConfig,
    *,
    kl: float,
) -> Loss:
    """Kahneman-Tversky loss per response (Ethayarajh 2024, arXiv:2402.01306, eq. 8).

    `kl` is the batch's estimate of KL(policy || reference) in nats, from mismatched prompts and
    responses and without gradient; it is computed once per update, never per micro-batch.
    """
    responses = terms(outputs, mask, ref_logprob)
    per_response = maths.kto(
        responses.logratio,
        desirable,
        kl,
        beta=config.beta,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
    )
    total, count = per_response.sum(), float(len(per_response))
    implicit = config.beta * responses.logratio.detach().double()
    right = (implicit > 0) == desirable
    return Loss(
        sum=total,
        weight=count,
        metrics=Metrics(
            {
                "dpo/loss": Mean(float(total.detach()), count),
                "dpo/accuracy": Mean(float(right.sum()), count),
                "dpo/chosen_reward": _mean_of(implicit[desirable]),
                "dpo/rejected_reward": _mean_of(implicit[~desirable]),
            }
        ),
    )


def _mean_of(values: torch.Tensor) -> Mean:
    return Mean(float(values.sum()), float(len(values)))
