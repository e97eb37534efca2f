"""Where the losses on preferences lead that do not lead to pi*: each by another way than training.

A solution is a function from a world to log-probabilities [prompt, response].
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor
from torch.nn.functional import logsigmoid

from palate.verify import enumeration as exact
from palate.verify.worlds import World

BETA = 0.5
"""Of EP-T and EP-TF."""


def labels(reward: Tensor, *, flipped: float = 0.0) -> Tensor:
    """P(i preferred to j) = sigmoid(r_i - r_j), a fraction of the labels being flipped."""
    right = torch.sigmoid(reward[..., :, None] - reward[..., None, :])
    return (1 - flipped) * right + flipped * (1 - right)


def ipo_solution(tau: float) -> Callable[[World], Tensor]:
    """ref exp(P(y preferred to a uniform response) / tau) / Z: Azar 2023, for independent pairs."""

    def solution(world: World) -> Tensor:
        uniform = torch.full_like(world.log_ref, 1 / len(world.tree.responses)).log()
        preferred = exact.preferred(uniform, world.reward)
        return exact.pi_star(world.log_ref, preferred, tau)

    return solution


def smoothed_solution(smoothing: float) -> Callable[[World], Tensor]:
    """The reference tilted by the Bradley-Terry fit of the smoothed labels."""

    def solution(world: World) -> Tensor:
        scores = exact.bradley_terry_scores(labels(world.reward, flipped=smoothing))
        return exact.pi_star(world.log_ref, scores, BETA)

    return solution


def offset_solution(margin: float) -> Callable[[World], Tensor]:
    """The reference tilted by the scores that fit labels by so much more: ODPO."""

    def solution(world: World) -> Tensor:
        scores = exact.bradley_terry_scores(labels(world.reward), offset=margin)
        return exact.pi_star(world.log_ref, scores, BETA)

    return solution


def simpo_solution(beta: float, gamma: float) -> Callable[[World], Tensor]:
    """Mean log-probabilities that are the fit with a margin, over beta: Meng 2024, no reference."""

    def solution(world: World) -> Tensor:
        scores = exact.bradley_terry_scores(labels(world.reward), offset=gamma)
        return exact.normalized_means(world.tree, scores / beta)

    return solution


def orpo_solution(coef: float) -> Callable[[World], Tensor]:
    """The minimum of coef times the odds ratio's loss plus the first response's mean NLL."""

    def solution(world: World) -> Tensor:
        lengths = world.tree.mask.sum(-1)

        def loss(logp: Tensor) -> Tensor:
            mean = logp / lengths
            log_odds = mean - torch.log1p(-mean.exp())
            return coef * _logistic(world, log_odds) + _first_nll(mean)

        return exact.minimizer(world.log_ref, loss)

    return solution


def with_sft_solution(beta: float, coef: float) -> Callable[[World], Tensor]:
    """The minimum of the DPO loss plus coef times the first response's mean NLL."""

    def solution(world: World) -> Tensor:
        lengths = world.tree.mask.sum(-1)

        def loss(logp: Tensor) -> Tensor:
            implicit = beta * (logp - world.log_ref)
            return _logistic(world, implicit) + coef * _first_nll(logp / lengths)

        return exact.minimizer(world.log_ref, loss)

    return solution


def _logistic(world: World, scores: Tensor) -> Tensor:
    """-E log sigmoid(s_i - s_j) over all pairs and both outcomes of their labels."""
    difference = scores[..., :, None] - scores[..., None, :]
    terms = labels(world.reward) * logsigmoid(difference)
    others = 1 - torch.eye(scores.shape[-1], dtype=scores.dtype)
    return -(terms * others).sum()


def _first_nll(mean: Tensor) -> Tensor:
    """The mean NLL of the first response of every pair; the i-th is first in k - 1 - i pairs."""
    k = mean.shape[-1]
    return -(mean * torch.arange(k - 1, -1, -1, dtype=mean.dtype)).sum()


def least_hinge(first: np.ndarray, second: np.ndarray, p: np.ndarray) -> float:
    """min over scores of mean p max(0, 1 - d) + (1 - p) max(0, 1 + d), d = s_i - s_j."""
    pairs, k = len(p), int(second.max()) + 1
    rows = np.arange(pairs)
    signs = np.r_[np.full(pairs, -1.0), np.full(pairs, 1.0)]
    difference = sparse.coo_array(
        (signs, (np.r_[rows, rows], np.r_[first, second])), shape=(pairs, k)
    )  # its rows times the scores are -d
    slack = -sparse.eye_array(pairs)
    bounds = sparse.block_array([[difference, slack, None], [-difference, None, slack]])
    costs = np.r_[np.zeros(k), p / pairs, (1 - p) / pairs]
    limits = [(None, None)] * k + [(0, None)] * (2 * pairs)
    found = linprog(costs, A_ub=bounds.tocsr(), b_ub=-np.ones(2 * pairs), bounds=limits)
    if not found.success:
        raise RuntimeError(f"the linear program found no minimum: {found.message}")
    return float(found.fun)
