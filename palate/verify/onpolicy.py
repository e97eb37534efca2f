"""Where rollouts, rewards and updates lead: worlds through the online loop."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from palate.algorithms.onpolicy import ALGORITHMS, Algorithm
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.rules import check
from palate.verify import enumeration as exact
from palate.verify.checks import Reached
from palate.verify.loops import improve
from palate.verify.tabular import Draw, TabularCritic, systematic
from palate.verify.worlds import World, tabular_world

Run = Callable[[int], Reached]
"""A seed -> what was reached with it."""

NewWorld = Callable[[int], World]
"""A seed -> an untrained world."""


def table(seed: int) -> World:
    """EP-T; the problem is always the same, so that a seed is one of sampling."""
    return tabular_world(exact.tabular())


def to_optimum(world: World, reward: Tensor, beta: float) -> dict[str, float]:
    """Distances of the world's policy to the optimum of E[reward] - beta KL; the worst prompt's.

    `identity` is the error of J(pi*) - J(pi) = beta KL(pi || pi*), which holds for every policy.
    """
    logp, optimum = world.logp(), exact.pi_star(world.log_ref, reward, beta)
    best = exact.objective(optimum, world.log_ref, reward, beta)
    gap = best - exact.objective(logp, world.log_ref, reward, beta)
    divergence = exact.kl(logp, optimum)
    return {
        "tv": float(exact.tv(logp, optimum).max()),
        "kl": float(divergence.max()),
        "gap": float(gap.max()),
        "identity": float((gap - beta * divergence).abs().max()),
    }


def to_solution(world: World, solution: Tensor, beta: float) -> dict[str, float]:
    """Distances to another solution; `tv to pi*` tells it from the optimum at this beta."""
    logp, optimum = world.logp(), exact.pi_star(world.log_ref, world.reward, beta)
    return {
        "tv": float(exact.tv(logp, solution).max()),
        "kl": float(exact.kl(logp, solution).max()),
        "tv to pi*": float(exact.tv(logp, optimum).max()),
    }


def reach(
    world: World, algorithm: Algorithm, config: AnyOnPolicyConfig, *, groups: int = 1, seed: int
) -> Reached:
    """Train, and measure the distance to the optimum of what the configuration maximises.

    `logged` is how far the last step's logged reward is from the exact objective.
    """
    history = improve(world, algorithm, config, groups=groups, seed=seed)
    reward = priced(world, config)
    beta = config.kl.coef
    objective = exact.objective(world.logp(), world.log_ref, reward, beta).mean()
    logged = abs(history.values["reward/mean"][-1] - float(objective))
    return to_optimum(world, reward, beta) | {"logged": logged}


def priced(world: World, config: AnyOnPolicyConfig) -> Tensor:
    """The reward less what responses pay that do not end, or that come near the longest length."""
    share = exact.unended(world.tree).double()
    if config.overlong_fraction > 0:
        share = exact.overlong(world.tree, fraction=config.overlong_fraction)
    return world.reward - config.missing_eos_penalty * share


def regularized(config: AnyOnPolicyConfig, *, groups: int = 1, new: NewWorld = table) -> Run:
    """KL in the reward."""
    algorithm = ALGORITHMS[config.stage]
    return lambda seed: reach(new(seed), algorithm, config, groups=groups, seed=seed)


def with_values(config: AnyOnPolicyConfig) -> Run:
    """The same, and the mean error of the learned values on the optimum's tokens."""

    def run(seed: int) -> Reached:
        problem = exact.tabular()
        world = tabular_world(problem)
        reached = reach(world, ALGORITHMS[config.stage], config, seed=seed)
        assert isinstance(world.critic, TabularCritic)
        optimum = exact.solve(problem, exact.soft)
        error = world.critic.table.detach() - exact.state_values(problem, optimum)
        visits = exact.logp_all(problem.tree, optimum).exp()[..., None] * problem.tree.mask
        error = (error.abs()[:, problem.tree.states] * visits).sum() / visits.sum()
        return {**reached, "value": float(error)}

    return run


def penalized(config: AnyOnPolicyConfig) -> Run:
    """The same with a price on missing EOS; `tv unpriced` is to the optimum without it."""

    def run(seed: int) -> Reached:
        world = table(seed)
        reached = reach(world, ALGORITHMS[config.stage], config, seed=seed)
        unpriced = exact.pi_star(world.log_ref, world.reward, config.kl.coef)
        return {**reached, "tv unpriced": float(exact.tv(world.logp(), unpriced).max())}

    return run


def in_the_loss(
    config: AnyOnPolicyConfig,
    solution: Callable[[exact.Problem], Tensor],
    *,
    problem: exact.Problem | None = None,
    draw: Draw = systematic,
    groups: int = 1,
) -> Run:
    """KL in the loss: distance to this choice's own fixed point, on EP-S if not told otherwise."""
    posed = replace(problem or exact.short(), beta=config.kl.coef)

    def run(seed: int) -> Reached:
        world = tabular_world(posed, draw=draw)
        improve(world, ALGORITHMS[config.stage], config, groups=groups, seed=seed)
        return to_solution(world, solution(posed), posed.beta)

    return run


def greedy(config: AnyOnPolicyConfig, *, groups: int) -> Run:
    """No KL: distance to the response with the highest priced reward, and from the priceless one.

    `discarded` is the share of groups of equal rewards that dynamic sampling threw away.
    """

    def run(seed: int) -> Reached:
        world = tabular_world(exact.short())
        history = improve(world, ALGORITHMS[config.stage], config, groups=groups, seed=seed)
        pi, best = world.logp().exp(), priced(world, config).argmax(-1, keepdim=True)
        unpriced = world.reward.argmax(-1, keepdim=True)
        return {
            "tv": float(1 - pi.gather(-1, best).min()),
            "tv unpriced": float(1 - pi.gather(-1, unpriced).min()),
            "discarded": sum(history.values["group/discarded"]),
        }

    return run


def following(config: AnyOnPolicyConfig) -> Run:
    """A moving reference on EP-1: to where so many steps of it lead.

    A policy at its optimum is r / beta of log-odds ahead of the reference, which makes up for
    1 - decay of that at every step: after n steps the coefficient is beta / (1 + n (1 - decay)).
    """

    def run(seed: int) -> Reached:
        world = tabular_world(exact.one_token())
        improve(world, ALGORITHMS[config.stage], config, seed=seed)
        steps = 1 + (config.steps - 1) * (1 - config.reference_decay)
        log_ref, beta = world.log_ref, config.kl.coef
        return to_solution(world, exact.pi_star(log_ref, world.reward, beta / steps), beta)

    return run


def by_group_deviation(problem: exact.Problem) -> Tensor:
    """tree-k3 where rewards are divided by their deviation under the policy: GRPO as published."""
    return exact.rescaled(
        problem, exact.tree_k3, lambda logp: exact.deviation_of(problem.reward, logp)
    )


def by_whitening(problem: exact.Problem) -> Tensor:
    """tree-k2 where rewards are divided by their deviation over tokens: REINFORCE++, baseline."""
    return exact.rescaled(
        problem,
        exact.tree_k2,
        lambda logp: exact.token_deviation(problem.tree, problem.reward, logp),
    )


def by_rule(rule: exact.Rule) -> Callable[[exact.Problem], Tensor]:
    """The solution that a local rule gives by backward induction."""
    return lambda problem: exact.logp_all(problem.tree, exact.solve(problem, rule))


def by_coefficient(factor: float) -> Callable[[exact.Problem], Tensor]:
    """pi* of another coefficient."""

    def solution(problem: exact.Problem) -> Tensor:
        log_ref = exact.logp_all(problem.tree, problem.ref_logits)
        return exact.pi_star(log_ref, problem.reward, factor * problem.beta)

    return solution


def by_deviation(problem: exact.Problem) -> Tensor:
    """The solution where rewards are divided by their deviation under the policy itself."""
    log_ref = exact.logp_all(problem.tree, problem.ref_logits)
    return exact.standardized_optimum(log_ref, problem.reward, problem.beta)


def refused(config: AnyOnPolicyConfig) -> Run:
    """A configuration that regularises nothing is not accepted; how many reasons are given."""
    return lambda seed: {"reasons": float(len(check(config)))}


def budgeted(config: AnyOnPolicyConfig) -> Run:
    """A KL budget: the mean KL over it, the coefficient over the one whose pi* spends it.

    `reward / best` is over the highest mean reward at the KL that was really spent.
    """

    def run(seed: int) -> Reached:
        world, budget = table(seed), config.kl.target
        history = improve(world, ALGORITHMS[config.stage], config, seed=seed)
        logp, log_ref, reward = world.logp(), world.log_ref, world.reward
        spent = float(exact.kl(logp, log_ref).mean())
        coef = exact.budget_coefficient(log_ref, reward, budget)
        best = exact.pi_star(log_ref, reward, exact.budget_coefficient(log_ref, reward, spent))
        gained, most = ((p.exp() * reward).sum(-1).mean() for p in (logp, best))
        return {
            "kl / budget": spent / budget,
            "reward / best": float(gained / most),
            "coef / best": history.values["kl/coef"][-1] / coef,
        }

    return run


def steered(config: AnyOnPolicyConfig) -> Run:
    """An adaptive coefficient: the mean KL of the last half's steps over the target."""

    def run(seed: int) -> Reached:
        history = improve(table(seed), ALGORITHMS[config.stage], config, seed=seed)
        measured = history.values["kl/policy_reference"][config.steps // 2 :]
        return {"mean kl / target": sum(measured) / len(measured) / config.kl.target}

    return run
