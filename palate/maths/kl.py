"""Per-token estimators of KL(policy || reference) in nats, from tokens that the policy sampled.

Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html) names k1, k2 and k3.
As a value k1 and k3 are unbiased. As a *loss* none of the three has the gradient of the sequence
KL: k1 has none at all, k2 and k3 omit what a token does to the KL of later tokens (Tang and Munos
2025, arXiv:2506.09477). The cumulative forms do have it.
"""

import torch

from palate.maths.shapes import PerToken, TokenMask


def k1(logprobs: PerToken, ref_logprobs: PerToken) -> PerToken:
    """log pi - log pi_ref: unbiased, signed; the one for rewards, budgets and reports."""
    return logprobs - ref_logprobs


def k2(logprobs: PerToken, ref_logprobs: PerToken) -> PerToken:
    """(log pi - log pi_ref)^2 / 2: biased as a value; its gradient is that of the token's KL."""
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: PerToken, ref_logprobs: PerToken) -> PerToken:
    """pi_ref/pi - 1 - log(pi_ref/pi): unbiased, >= 0, heavy-tailed far from the reference.

    Not clamped: a clamp has no gradient exactly where the policy has left the reference furthest.
    """
    log_ratio = logprobs - ref_logprobs
    return torch.expm1(-log_ratio) + log_ratio


def _cumulative_ratio(logprobs: PerToken, old_logprobs: PerToken, mask: TokenMask) -> PerToken:
    return torch.where(mask, logprobs - old_logprobs, 0.0).cumsum(dim=1).exp()


def k1_cumulative(
    logprobs: PerToken, ref_logprobs: PerToken, old_logprobs: PerToken, mask: TokenMask
) -> PerToken:
    """k1_t * prod_{s<=t} pi_s/pi_old_s, 0 where masked: its gradient is that of the sequence KL."""
    estimate = torch.where(mask, k1(logprobs, ref_logprobs), 0.0)
    return estimate * _cumulative_ratio(logprobs, old_logprobs, mask)


def k3_cumulative(
    logprobs: PerToken, ref_logprobs: PerToken, old_logprobs: PerToken, mask: TokenMask
) -> PerToken:
    """k3_t * prod_{s<=t} pi_s/pi_old_s, 0 where masked: its gradient is that of the sequence KL."""
    estimate = torch.where(mask, k3(logprobs, ref_logprobs), 0.0)
    return estimate * _cumulative_ratio(logprobs, old_logprobs, mask)
