"""Rewards and advantages: constants of every surrogate, so nothing here carries a gradient.

A group index numbers the prompts of a batch from 0, one number per response, in any order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from palate.maths.reductions import masked_sum
from palate.maths.shapes import GroupIndex, GroupMask, Lengths, PerResponse, PerToken, TokenMask

_EPS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GaeResult:
    """Advantages and value targets per token, in units of reward; 0 where masked.

    >>> one = torch.ones(1, 1)
    >>> gae(one, 0 * one, one.bool(), gamma=1.0, lam=1.0).returns.item()
    1.0
    """

    advantages: PerToken
    returns: PerToken


@torch.no_grad()
def token_rewards(scores: PerResponse, kl: PerToken, mask: TokenMask, *, coef: float) -> PerToken:
    """-coef * kl_t at every valid token, and the score once, at the last: Ziegler et al. 2019
    (arXiv:1909.08593) eq. 2, token by token.
    """
    valid_from_here = mask.flip(1).cumsum(1).flip(1)
    is_last = mask & (valid_from_here == 1)
    return torch.where(mask, -coef * kl, 0.0) + torch.where(is_last, scores[:, None], 0.0)


@torch.no_grad()
def sequence_rewards(
    scores: PerResponse, kl: PerToken, mask: TokenMask, *, coef: float
) -> PerResponse:
    """score - coef * sum_t kl_t: the KL-regularized reward of a whole response."""
    return scores - coef * masked_sum(kl, mask)


@torch.no_grad()
def overlong(lengths: Lengths, *, longest: int, fraction: float) -> PerResponse:
    """How far a response reaches into the last `fraction` of the `longest` allowed: 0 to 1, linear.

    Minus it is the soft overlong punishment of DAPO, Yu et al. 2025 (arXiv:2503.14476) eq. 13, with
    L_cache = fraction * L_max.
    """
    buffer = fraction * longest
    return ((lengths - (longest - buffer)) / buffer).clamp(0.0, 1.0)


@torch.no_grad()
def gae(
    rewards: PerToken, values: PerToken, mask: TokenMask, *, gamma: float, lam: float
) -> GaeResult:
    """Generalized advantages sum_l (gamma lam)^l delta_{t+l} and returns A_t + V_t.

    delta_t = r_t + gamma V_{t+1} - V_t, Schulman et al. 2016 (arXiv:1506.02438) eq. 16. The value
    after the last token is 0 (a response is over, stopped or cut off). "Next" means the next
    *valid* token, so in multi-turn responses the recursion passes over the turns of others.
    """
    advantages = torch.zeros_like(values)
    advantage = values.new_zeros(values.shape[0])
    next_value = torch.zeros_like(advantage)
    for t in reversed(range(values.shape[1])):
        valid = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = torch.where(valid, delta + gamma * lam * advantage, advantage)
        next_value = torch.where(valid, values[:, t], next_value)
        advantages[:, t] = torch.where(valid, advantage, 0.0)
    return GaeResult(advantages=advantages, returns=torch.where(mask, advantages + values, 0.0))


def _centered(rewards: Tensor, group_index: Tensor) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(group_index).to(rewards.dtype)
    if (counts == 1).any():
        raise ValueError("an advantage relative to the group needs at least 2 responses per prompt")
    # Measured from the group's lowest reward, equal rewards have a mean of exactly 0.
    lowest = torch.full_like(counts, torch.inf)
    above = rewards - lowest.scatter_reduce(0, group_index, rewards, "amin")[group_index]
    sums = torch.zeros_like(counts).index_add(0, group_index, above)
    return above - (sums / counts)[group_index], counts


@torch.no_grad()
def group_mean_centered(rewards: PerResponse, group_index: GroupIndex) -> PerResponse:
    """r_i - mean of its group, itself included: Dr. GRPO, Liu et al. 2025 (arXiv:2503.20783).

    Its expected gradient is (G - 1)/G of the policy gradient.
    """
    return _centered(rewards, group_index)[0]


@torch.no_grad()
def leave_one_out(rewards: PerResponse, group_index: GroupIndex) -> PerResponse:
    """r_i - mean of the *other* responses of its group: RLOO, Ahmadian et al. 2024
    (arXiv:2402.14740); unbiased, and G/(G - 1) of the self-inclusive form.
    """
    centered, counts = _centered(rewards, group_index)
    return centered * (counts / (counts - 1))[group_index]


@torch.no_grad()
def group_scaled(
    advantages: PerResponse, rewards: PerResponse, group_index: GroupIndex
) -> PerResponse:
    """Advantages over (std + 1e-6) of their group's rewards, the sample deviation in two passes.

    With the group's mean as baseline: GRPO, Shao et al. 2024 (arXiv:2402.03300) sec. 4.1. A group
    of equal rewards gets exactly 0. Dividing changes the direction of the gradient too.
    """
    centered, counts = _centered(rewards, group_index)
    squares = torch.zeros_like(counts).index_add(0, group_index, centered.square())
    return advantages / ((squares / (counts - 1)).sqrt() + _EPS)[group_index]


@torch.no_grad()
def batch_scaled(advantages: PerResponse) -> PerResponse:
    """Advantages over the sample standard deviation of the whole batch (plus 1e-6)."""
    return advantages / (advantages.std() + _EPS)


@torch.no_grad()
def live_groups(rewards: PerResponse, group_index: GroupIndex) -> GroupMask:
    """True where the rewards of a group differ: all others have nothing but zero advantages."""
    groups = rewards.new_zeros(int(group_index.max()) + 1)
    lowest = groups.scatter_reduce(0, group_index, rewards, "amin", include_self=False)
    highest = groups.scatter_reduce(0, group_index, rewards, "amax", include_self=False)
    return highest > lowest


@torch.no_grad()
def on_tokens(advantages: PerResponse, mask: TokenMask) -> PerToken:
    """Every valid token gets its response's advantage; 0 where masked."""
    return torch.where(mask, advantages[:, None], 0.0)


@torch.no_grad()
def whitened(x: PerToken, mask: TokenMask) -> PerToken:
    """(x - mean) / sqrt(variance + 1e-8) over the valid tokens of the batch; 0 where masked."""
    count = mask.sum().clamp(min=1)
    centered = torch.where(mask, x - torch.where(mask, x, 0.0).sum() / count, 0.0)
    return centered * (centered.square().sum() / count + 1e-8).rsqrt()
