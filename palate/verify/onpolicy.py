"""Where rollouts, rewards and updates lead: the online loop on a table that can hold any policy."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from palate.algorithms.onpolicy import ALGORITHMS, Algorithm
from palate.config.rules import check
from palate.training.improve import OnPolicyConfig
from palate.verify import enumeration as exact
from palate.verify.checks import Reached
from palate.verify.loops import History, improve
from palate.verify.tabular import TabularCritic, systematic
from palate.verify.worlds import World, tabular_world

Run = Callable[[int], Reached]
"""A seed -> what was reached with it."""


def to_optimum(world: World, reward: Tensor, beta: float) -> dict[str, float]:
    """Distances of the world's policy to the optimum of E[reward] - beta KL; the worst prompt's.

    `identity` is the error of J(pi*) - J(pi) = beta KL(pi || pi*), which holds for every policy.
    """
    logp, optimum = world.logp(), exact.pi_star(world.log_ref, reward, beta)
    gap = exact.objective(optimum, world.log_ref, reward, beta) - exact.objective(
        logp, world.log_ref, reward, beta
    )
    divergence = exact.kl(logp, optimum)
    return {
        "tv": float(exact.tv(logp, optimum).max()),
        "kl": float(divergence.max()),
        "gap": float(gap.max()),
        "identity": float((gap - beta * divergence).abs().max()),
    }


def reach(world: World, algorithm: Algorithm, config: OnPolicyConfig, *, seed: int) -> Reached:
    """Train, and measure the distance to the optimum of what the configuration maximises.

    `logged` is how far the last step's logged reward is from the exact objective.
    """
    history = improve(world, algorithm, config, seed=seed)
    missing = exact.unended(world.tree).double()
    reward = world.reward - config.missing_eos_penalty * missing
    beta = config.kl.coef
    objective = exact.objective(world.logp(), world.log_ref, reward, beta).mean()
    logged = abs(history.values["reward/mean"][-1] - float(objective))
    return to_optimum(world, reward, beta) | {"logged": logged}


def regularized(config: OnPolicyConfig) -> Run:
    """EP-T with KL in the reward."""

    def run(seed: int) -> Reached:
        world = tabular_world(exact.tabular())
        return reach(world, ALGORITHMS[config.stage], config, seed=seed)

    return run


def with_values(config: OnPolicyConfig) -> Run:
    """The same, and how far the critic is from the optimal value, per token of the optimum."""

    def run(seed: int) -> Reached:
        problem = exact.tabular()
        world = tabular_world(problem)
        reached = reach(world, ALGORITHMS[config.stage], config, seed=seed)
        assert isinstance(world.critic, TabularCritic)
        optimum = exact.solve(problem, exact.soft)
        error = (world.critic.table.detach() - exact.state_values(problem, optimum)).abs()
        visits = exact.logp_all(problem.tree, optimum).exp()[..., None] * problem.tree.mask
        error = (error[:, problem.tree.states] * visits).sum() / visits.sum()
        return {**reached, "value": float(error)}

    return run


def penalized(config: OnPolicyConfig) -> Run:
    """The same with a price on missing EOS; `unpriced` is the TV to the optimum without it."""

    def run(seed: int) -> Reached:
        world = tabular_world(exact.tabular())
        reached = reach(world, ALGORITHMS[config.stage], config, seed=seed)
        unpriced = exact.pi_star(world.log_ref, world.reward, config.kl.coef)
        return {**reached, "unpriced": float(exact.tv(world.logp(), unpriced).max())}

    return run


def fixed_point(config: OnPolicyConfig, solution: Callable[[exact.Problem], Tensor]) -> Run:
    """KL in the loss, with nearly noiseless groups: distance to this choice's own fixed point.

    `pi*` is the TV to the optimum of the KL-regularized objective.
    """

    def run(seed: int) -> Reached:
        problem = replace(exact.short(), beta=config.kl.coef)
        world = tabular_world(problem, draw=systematic)
        improve(world, ALGORITHMS[config.stage], config, seed=seed)
        logp, own = world.logp(), solution(problem)
        optimum = exact.pi_star(world.log_ref, world.reward, config.kl.coef)
        return {
            "tv": float(exact.tv(logp, own).max()),
            "kl": float(exact.kl(logp, own).max()),
            "pi*": float(exact.tv(logp, optimum).max()),
        }

    return run


def refused(config: OnPolicyConfig) -> Run:
    """A configuration that optimises nothing sensible is not accepted: reasons given."""
    return lambda seed: {"reasons": float(len(check(config)))}


def budgeted(config: OnPolicyConfig) -> Run:
    """A KL budget: what was spent, gained and charged, each over what is best at that budget."""

    def run(seed: int) -> Reached:
        world, history = _controlled(config, seed=seed)
        logp, budget = world.logp(), config.kl.target
        best_coef = exact.budget_coefficient(world.log_ref, world.reward, budget)
        best = exact.pi_star(world.log_ref, world.reward, best_coef)
        gained = (logp.exp() * world.reward).sum(-1).mean()
        return {
            "kl / budget": float(exact.kl(logp, world.log_ref).mean()) / budget,
            "reward / best": float(gained / (best.exp() * world.reward).sum(-1).mean()),
            "coef / best": history.values["kl/coef"][-1] / best_coef,
        }

    return run


def steered(config: OnPolicyConfig) -> Run:
    """Ziegler's controller: the mean of the last half's measured KL over the target."""

    def run(seed: int) -> Reached:
        _, history = _controlled(config, seed=seed)
        measured = history.values["kl/policy_reference"][config.steps // 2 :]
        return {"mean kl / target": sum(measured) / len(measured) / config.kl.target}

    return run


def _controlled(config: OnPolicyConfig, *, seed: int) -> tuple[World, History]:
    world = tabular_world(exact.tabular())
    return world, improve(world, ALGORITHMS[config.stage], config, seed=seed)
