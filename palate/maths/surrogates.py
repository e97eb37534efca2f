"""Surrogate losses of the policy and losses of the critic, per token, before any reduction."""

import torch

from palate.maths.reductions import masked_mean
from palate.maths.shapes import PerToken, TokenMask


def token_ratio(logprobs: PerToken, old_logprobs: PerToken, mask: TokenMask) -> PerToken:
    """pi_t / pi_old_t of each token; 1 where masked."""
    return torch.where(mask, logprobs - old_logprobs, 0.0).exp()


def sequence_ratio(logprobs: PerToken, old_logprobs: PerToken, mask: TokenMask) -> PerToken:
    """(pi(y) / pi_old(y))^(1/|y|) of each response, on each of its tokens.

    GSPO, Zheng et al. 2025 (arXiv:2507.18071) eq. 7; with `sequence_mean` it is their eq. 5.
    """
    log_ratio = masked_mean(logprobs - old_logprobs, mask)
    return log_ratio.exp()[:, None].expand_as(logprobs)


def policy_gradient(logprobs: PerToken, advantages: PerToken) -> PerToken:
    """-A log pi: REINFORCE, Williams 1992; only for tokens that the current policy sampled."""
    return -advantages * logprobs


def clipped_surrogate(
    ratio: PerToken, advantages: PerToken, *, low: float, high: float
) -> PerToken:
    """-min(r A, clip(r, 1 - low, 1 + high) A): PPO, Schulman et al. 2017 (arXiv:1707.06347) eq. 7.

    high > low is DAPO's clip-higher (arXiv:2503.14476 eq. 10).
    """
    clipped = ratio.clamp(1.0 - low, 1.0 + high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def dual_clipped_surrogate(
    ratio: PerToken, advantages: PerToken, *, low: float, high: float, dual: float
) -> PerToken:
    """The clipped surrogate, where A < 0 at most -dual A: Ye et al. 2020 (arXiv:1912.09729).

    dual > 1 bounds the loss of a token that became far more likely although it was bad.
    """
    loss = clipped_surrogate(ratio, advantages, low=low, high=high)
    return torch.where(advantages < 0, torch.minimum(loss, -dual * advantages), loss)


def cispo_surrogate(
    ratio: PerToken, logprobs: PerToken, advantages: PerToken, *, low: float, high: float
) -> PerToken:
    """-stop_gradient(clip(r, 1 - low, 1 + high)) A log pi: CISPO, MiniMax 2025 (arXiv:2506.13585)
    eq. 4; every token keeps a gradient.
    """
    return ratio.detach().clamp(1.0 - low, 1.0 + high) * policy_gradient(logprobs, advantages)


def clip_fraction(ratio: PerToken, advantages: PerToken, *, low: float, high: float) -> TokenMask:
    """True where clipping binds, that is where the clipped surrogate has no gradient."""
    too_high = (advantages > 0) & (ratio > 1.0 + high)
    too_low = (advantages < 0) & (ratio < 1.0 - low)
    return too_high | too_low


def dual_clip_binds(ratio: PerToken, advantages: PerToken, *, dual: float) -> TokenMask:
    """True where A < 0 and ratio > dual, that is where dual clipping leaves no gradient."""
    return (advantages < 0) & (ratio > dual)


def weight_clipped(ratio: PerToken, *, low: float, high: float) -> TokenMask:
    """True where a ratio is outside its bounds, that is where CISPO clips a token's weight."""
    return (ratio > 1.0 + high) | (ratio < 1.0 - low)


def ratio_bins(ratio: PerToken, *, low: float, high: float) -> PerToken:
    """The bin of each ratio in ninths of its bound: 0 around 1, -4 to 4 inside, at most 9 beyond.

    Bins are two ninths wide, so both bounds are edges, and belong to the inside as in clipping.
    """
    ninths = 9 * (ratio - 1) / torch.where(ratio > 1, high, low)
    return ninths.sign() * (ninths.abs() / 2 - 0.5).ceil().clamp(0, 9)


def value_loss(values: PerToken, returns: PerToken) -> PerToken:
    """(V - R)^2 / 2."""
    return 0.5 * (values - returns).square()


def clipped_value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, *, clip: float
) -> PerToken:
    """max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2) / 2, as in OpenAI's PPO."""
    near = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum(value_loss(values, returns), value_loss(near, returns))
