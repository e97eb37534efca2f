"""From per-token losses to a (sum, weight) pair; the learner divides by the *global* weight.

So neither micro-batches nor ranks change a gradient. A masked entry, whatever it holds, adds
nothing; a response without a valid token counts nowhere.
"""

from dataclasses import dataclass

import torch

from palate.maths.shapes import PerResponse, PerToken, Scalar, TokenMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """A sum and how much it counts (tokens or responses).

    >>> token_mean(torch.ones(1, 2), torch.tensor([[True, False]])).weight
    1.0
    """

    sum: Scalar
    weight: float


def masked_sum(per_token: PerToken, mask: TokenMask) -> PerResponse:
    """Sum over the valid tokens of each response."""
    return torch.where(mask, per_token, 0.0).sum(dim=1)


def masked_mean(per_token: PerToken, mask: TokenMask) -> PerResponse:
    """Mean over the valid tokens of each response; 0 for a response without any."""
    return masked_sum(per_token, mask) / mask.sum(dim=1).clamp(min=1)


def _responses(mask: TokenMask) -> float:
    return float(mask.any(dim=1).sum())


def token_mean(per_token: PerToken, mask: TokenMask) -> Reduced:
    """Mean over all valid tokens of the batch: DAPO, Yu et al. 2025 (arXiv:2503.14476) eq. 12."""
    return Reduced(sum=masked_sum(per_token, mask).sum(), weight=float(mask.sum()))


def sequence_mean(per_token: PerToken, mask: TokenMask) -> Reduced:
    """Mean within a response, then over responses: GRPO, Shao 2024 (arXiv:2402.03300) eq. 3."""
    return Reduced(sum=masked_mean(per_token, mask).sum(), weight=_responses(mask))


def sequence_sum(per_token: PerToken, mask: TokenMask) -> Reduced:
    """Sum within a response, mean over responses: the policy gradient of the sequence."""
    return Reduced(sum=masked_sum(per_token, mask).sum(), weight=_responses(mask))


def constant(per_token: PerToken, mask: TokenMask, *, length: int) -> Reduced:
    """Sum within a response over a fixed length, mean over responses: Dr. GRPO, Liu et al. 2025
    (arXiv:2503.20783) section 3.2; length is the longest response allowed, not the longest seen.
    """
    return Reduced(sum=masked_sum(per_token, mask).sum() / length, weight=_responses(mask))
