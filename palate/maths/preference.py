"""Losses of direct preference optimization and its family, per pair or per response.

A log-ratio is log pi(y|x) - log pi_ref(y|x) summed over a response's tokens, in nats; a margin is
the chosen one's minus the rejected one's. `probability` is that of the label being right.
"""

import torch
from torch.nn.functional import relu

from palate.maths.reward import bradley_terry, smoothed, unsmoothed
from palate.maths.shapes import PerPair, PerResponse, ResponseMask, Scalar


def margin(chosen_logratio: PerPair, rejected_logratio: PerPair) -> PerPair:
    """Log-ratio of the chosen response minus that of the rejected one (nats)."""
    return chosen_logratio - rejected_logratio


def sigmoid(margin: PerPair, probability: PerPair, offset: PerPair, *, beta: float) -> PerPair:
    """-log sigmoid(beta margin - offset): DPO, Rafailov et al. 2023 (arXiv:2305.18290) eq. 7.

    The offset, in units of reward, is that of ODPO, Amini et al. 2024 (arXiv:2402.10571) eq. 8.
    """
    return bradley_terry(beta * margin, probability, offset)


def cdpo(
    margin: PerPair, probability: PerPair, offset: PerPair, *, beta: float, smoothing: float
) -> PerPair:
    """DPO on smoothed labels: conservative DPO, Mitchell 2023 (ericmitchell.ai/cdpo.pdf)."""
    return sigmoid(margin, smoothed(probability, smoothing=smoothing), offset, beta=beta)


def rdpo(
    margin: PerPair, probability: PerPair, offset: PerPair, *, beta: float, smoothing: float
) -> PerPair:
    """DPO that is unbiased under flipped labels: robust DPO, Chowdhury et al. 2024
    (arXiv:2403.00409).
    """
    return sigmoid(margin, unsmoothed(probability, smoothing=smoothing), offset, beta=beta)


def ipo(margin: PerPair, probability: PerPair, *, tau: float) -> PerPair:
    """(margin - 1 / (2 tau))^2: IPO, Azar et al. 2023 (arXiv:2310.12036) eq. 17."""
    target = 1.0 / (2.0 * tau)
    right, wrong = (margin - target).square(), (margin + target).square()
    return probability * right + (1.0 - probability) * wrong


def hinge(margin: PerPair, probability: PerPair, offset: PerPair, *, beta: float) -> PerPair:
    """max(0, 1 + offset - beta margin): SLiC, Zhao et al. 2023 (arXiv:2305.10425), normalized as in
    RSO, Liu et al. 2023 (arXiv:2309.06657); the offset makes a pair's own demand.
    """
    demand = 1.0 + offset
    right, wrong = relu(demand - beta * margin), relu(demand + beta * margin)
    return probability * right + (1.0 - probability) * wrong


def simpo(
    chosen_mean_logprob: PerPair,
    rejected_mean_logprob: PerPair,
    probability: PerPair,
    *,
    beta: float,
    gamma: float,
) -> PerPair:
    """-log sigmoid(beta (chosen - rejected) - gamma) of mean log-probabilities per token, without a
    reference: SimPO, Meng et al. 2024 (arXiv:2405.14734) eq. 6.
    """
    difference = beta * (chosen_mean_logprob - rejected_mean_logprob)
    return bradley_terry(difference, probability, torch.full_like(difference, gamma))


def orpo_odds(
    chosen_mean_logprob: PerPair, rejected_mean_logprob: PerPair, probability: PerPair
) -> PerPair:
    """-log sigmoid of the log odds ratio of mean log-probabilities: the L_OR of ORPO, Hong et al.
    2024 (arXiv:2403.07691) eq. 7.
    """
    log_odds_ratio = _log_odds(chosen_mean_logprob) - _log_odds(rejected_mean_logprob)
    return bradley_terry(log_odds_ratio, probability, torch.zeros_like(log_odds_ratio))


def _log_odds(logprob: PerPair) -> PerPair:
    return logprob - torch.log(-torch.expm1(logprob))


def kto(
    logratio: PerResponse,
    desirable: ResponseMask,
    kl: Scalar | float,
    *,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> PerResponse:
    """w (1 - sigmoid(+-beta (logratio - kl))), + where desirable: KTO, Ethayarajh et al. 2024
    (arXiv:2402.01306) eq. 8; kl >= 0 (nats) is a constant estimate of KL(pi || pi_ref).
    """
    gain = beta * (logratio - kl)
    return torch.where(
        desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain)
    )
