"""Where fixed data leads: the fitting loop on tables, with every label in its population value."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from palate.algorithms.sft import Reduction
from palate.config.common import OptimizerConfig
from palate.config.stages import DpoConfig, RewardConfig
from palate.evaluation.policies import best_of_n_curve
from palate.maths.statistics import best_of_n_kl_bound
from palate.verify import enumeration as exact
from palate.verify.checks import Reached
from palate.verify.loops import imitate, judged, prefer, rate, repeated
from palate.verify.onpolicy import Run, to_optimum
from palate.verify.tabular import TabularReward
from palate.verify.worlds import World, tabular_world

Pairs = list[tuple[int, int]]

_DEMONSTRATIONS = 200
_POOLS, _DRAWS = 200, 20_000


def all_pairs(responses: int) -> Pairs:
    """Every pair of different responses once: both sides are drawn uniformly."""
    return list(itertools.combinations(range(responses), 2))


def some_pairs(responses: int) -> Pairs:
    """Three circles of unequal strides: connected, and nothing like independent draws."""
    return [(i, (i + stride) % responses) for stride in (1, 3, 7) for i in range(responses)]


def labels(reward: Tensor, *, flipped: float = 0.0) -> Tensor:
    """P(i preferred to j) = sigmoid(r_i - r_j), a fraction of the labels being flipped."""
    right = torch.sigmoid(reward[..., :, None] - reward[..., None, :])
    return (1 - flipped) * right + flipped * (1 - right)


def preferring(
    config: DpoConfig, *, pairs: Callable[[int], Pairs], updates: int, flipped: float = 0.0
) -> Callable[[int], World]:
    """A seed -> EP-T's world after training on soft labels of these pairs."""

    def train(seed: int) -> World:
        world = tabular_world(exact.tabular(seed))
        probability = labels(world.reward, flipped=flipped)
        rows = judged(world, probability, pairs(len(world.tree.responses)))
        prefer(world, rows, config, updates=updates, seed=seed)
        return world

    return train


def same_as_rl(train: Callable[[int], World], beta: float) -> Run:
    """Distances to the optimum of the KL-regularized objective."""

    def run(seed: int) -> Reached:
        world = train(seed)
        return to_optimum(world, world.reward, beta)

    return run


def elsewhere(train: Callable[[int], World], solution: Callable[[World], Tensor]) -> Run:
    """Distances to a solution of its own; `pi*` is the TV to the optimum at beta 0.5."""

    def run(seed: int) -> Reached:
        world = train(seed)
        logp, own = world.logp(), solution(world)
        optimum = exact.pi_star(world.log_ref, world.reward, 0.5)
        return {
            "tv": float(exact.tv(logp, own).max()),
            "kl": float(exact.kl(logp, own).max()),
            "pi*": float(exact.tv(logp, optimum).max()),
        }

    return run


def ipo_solution(tau: float) -> Callable[[World], Tensor]:
    """ref exp(P(y preferred to a uniform response) / tau) / Z: Azar 2023, for independent pairs."""

    def solution(world: World) -> Tensor:
        uniform = torch.full_like(world.log_ref, 1 / len(world.tree.responses)).log()
        preferred = exact.preferred(uniform, world.reward)
        return exact.pi_star(world.log_ref, preferred, tau)

    return solution


def smoothed_solution(beta: float, smoothing: float) -> Callable[[World], Tensor]:
    """The reference tilted by the Bradley-Terry fit of the smoothed labels."""

    def solution(world: World) -> Tensor:
        scores = exact.bradley_terry_scores(labels(world.reward, flipped=smoothing))
        return exact.pi_star(world.log_ref, scores, beta)

    return solution


def imitating(reduction: Reduction, optimizer: OptimizerConfig, *, updates: int) -> Run:
    """SFT on responses in the proportions of pi*; `data` is the TV to their distribution.

    A sequence mean weighs a response's tokens by one over its length, which moves its optimum.
    """

    def run(seed: int) -> Reached:
        world = tabular_world(exact.tabular(seed))
        optimum = exact.pi_star(world.log_ref, world.reward, 0.5)
        counts = (_DEMONSTRATIONS * optimum.exp()).round().clamp(min=1)
        tokens = repeated(world, counts)
        imitate(world, tokens, reduction, optimizer, updates=updates, seed=seed)
        lengths = world.tree.mask.sum(-1)
        weights = counts / lengths if reduction == "sequence_mean" else counts
        logp, own = world.logp(), exact.imitated(world.tree, weights)
        data = (counts / counts.sum(-1, keepdim=True)).log()
        return {
            "tv": float(exact.tv(logp, own).max()),
            "kl": float(exact.kl(logp, own).max()),
            "data": float(exact.tv(logp, data).max()),
        }

    return run


def rating(config: RewardConfig, *, updates: int) -> Run:
    """A reward model: error of its centered scores (units of reward) to the fit of its labels.

    `reward` is the distance to the true reward, which smoothed labels do not lead to.
    """

    def run(seed: int) -> Reached:
        world = tabular_world(exact.tabular(seed))
        pairs = all_pairs(len(world.tree.responses))
        role = TabularReward(world.index, torch.zeros_like(world.reward))
        rows = judged(world, labels(world.reward), pairs)
        scores = rate(world, role, rows, config, updates=updates, seed=seed)
        fit = exact.bradley_terry_scores(labels(world.reward, flipped=config.label_smoothing))
        true = exact.centered(world.reward)
        return {
            "scores": float((scores - fit).abs().max()),
            "reward": float((scores - true).abs().max()),
        }

    return run


def best_of(*sizes: int) -> Run:
    """Best-of-n from sampled pools against its exact distribution F(r)^n - F(r-)^n.

    `kl - bound` is the exact KL over log n - (n - 1) / n, in nats: never above zero.
    """

    def run(seed: int) -> Reached:
        problem = exact.tabular(seed)
        logp = exact.logp_all(problem.tree, problem.ref_logits)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(logp.exp(), _DRAWS, replacement=True, generator=generator)
        tv, excess = [], []
        for prompt, numbers in enumerate(drawn.view(len(drawn), _POOLS, -1)):
            scores = problem.reward[prompt, numbers].numpy()
            chosen = {
                str(response): (numbers == response).double().numpy()
                for response in range(len(problem.tree.responses))
            }
            for best in best_of_n_curve(scores, chosen, sizes):
                found = torch.tensor([share.mean.estimate for share in best.scores])
                truth = exact.best_of_n(logp[prompt], problem.reward[prompt], best.n)
                tv.append(float(0.5 * (found - truth).abs().sum()))
                spent = float(exact.kl(truth.log(), logp[prompt]))
                excess.append(spent - best_of_n_kl_bound(best.n))
        return {"tv": max(tv), "kl - bound": max(excess)}

    return run
