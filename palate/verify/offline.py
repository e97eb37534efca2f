"""Where fixed data leads: worlds through the fitting loop, labelled by a whole population."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import relu

from palate.algorithms.onpolicy import ALGORITHMS
from palate.algorithms.sft import Reduction
from palate.batches.groups import token_group
from palate.config.common import OptimizerConfig
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.stages import DpoConfig, RewardConfig
from palate.evaluation.policies import best_of_n_curve
from palate.feedback.judges import ScorerJudge
from palate.maths.statistics import best_of_n_kl_bound
from palate.models.roles import Role
from palate.records import Choice, Group, Prompt, Response
from palate.verify import enumeration as exact
from palate.verify.checks import Reached
from palate.verify.loops import imitate, improve, judged, prefer, rate, repeated
from palate.verify.onpolicy import NewWorld, Run, table, to_optimum, to_solution
from palate.verify.solutions import BETA, labels, least_hinge
from palate.verify.tabular import TabularReward
from palate.verify.worlds import TableScorer, World, tabular_world

Pairs = list[tuple[int, int]]

_DEMONSTRATIONS = 200
_POOLS, _POOL = 2000, 100
_VOTES = 40


def drawn_table(seed: int) -> World:
    """EP-T with a problem of the seed, since nothing else is random here."""
    return tabular_world(exact.tabular(seed))


def all_pairs(responses: int) -> Pairs:
    """Every pair of different responses once: both sides are drawn uniformly."""
    return list(itertools.combinations(range(responses), 2))


def some_pairs(responses: int) -> Pairs:
    """Three circles of unequal strides: connected, and nothing like independent draws."""
    return [(i, (i + stride) % responses) for stride in (1, 3, 7) for i in range(responses)]


def votes(reward: Tensor, *, seed: int) -> Tensor:
    """The share of 40 drawn labels in which i was preferred to j, for every pair."""
    draw = torch.Generator().manual_seed(seed)
    probability = labels(reward).expand(_VOTES, -1, -1, -1)
    upper = torch.bernoulli(probability, generator=draw).mean(0).triu(1)
    return upper + (1 - upper).triu(1).mT


def preferring(
    config: DpoConfig,
    *,
    pairs: Callable[[int], Pairs],
    updates: int,
    flipped: float = 0.0,
    margin: float = 0.0,
    new: NewWorld = drawn_table,
) -> NewWorld:
    """A seed -> a world after training on soft labels of these pairs."""

    def trained(seed: int) -> World:
        world = new(seed)
        probability = labels(world.reward, flipped=flipped)
        chosen = pairs(len(world.tree.responses))
        rows = judged(world, probability, chosen, margin=margin)
        prefer(world, rows, config, updates=updates, seed=seed)
        return world

    return trained


def at_optimum(trained: NewWorld) -> Run:
    """How far from the optimum of the KL-regularized objective."""

    def run(seed: int) -> Reached:
        world = trained(seed)
        return to_optimum(world, world.reward, BETA)

    return run


def at_solution(trained: NewWorld, solution: Callable[[World], Tensor]) -> Run:
    """How far from a solution that is not that optimum."""

    def run(seed: int) -> Reached:
        world = trained(seed)
        return to_solution(world, solution(world), BETA)

    return run


def hinge_excess(trained: NewWorld) -> Run:
    """How much more hinge loss per pair than the least there is, which a linear program finds.

    The loss is flat around its minimum, so there is no one policy to be at.
    """

    def run(seed: int) -> Reached:
        world = trained(seed)
        implicit = BETA * (world.logp() - world.log_ref)
        excess = []
        for scores, probability in zip(implicit, labels(world.reward), strict=True):
            first, second = torch.tensor(all_pairs(len(scores))).T
            p, difference = probability[first, second], scores[first] - scores[second]
            mean = (p * relu(1 - difference) + (1 - p) * relu(1 + difference)).mean()
            excess.append(float(mean) - least_hinge(first.numpy(), second.numpy(), p.numpy()))
        return {"excess": max(excess)}

    return run


def from_votes(config: DpoConfig, *, updates: int) -> Run:
    """DPO on drawn labels: to the tilt by the Bradley-Terry fit of the very same labels."""

    def run(seed: int) -> Reached:
        world = drawn_table(seed)
        shares = votes(world.reward, seed=seed)
        rows = judged(world, shares, all_pairs(len(world.tree.responses)))
        prefer(world, rows, config, updates=updates, seed=seed)
        return to_solution(world, _fitted(world, shares), BETA)

    return run


def pipeline(reward: RewardConfig, policy: AnyOnPolicyConfig, *, updates: int, groups: int) -> Run:
    """A reward model from drawn labels, then RL on it: to where DPO on those labels goes."""

    def run(seed: int) -> Reached:
        world = table(seed)
        shares = votes(world.reward, seed=seed)
        rows = judged(world, shares, all_pairs(len(world.tree.responses)))
        scores = rate(world, scores_of(world), rows, reward, updates=updates, seed=seed)
        proxy = replace(world, reward=scores)
        improve(proxy, ALGORITHMS[policy.stage], policy, groups=groups, seed=seed)
        return to_solution(world, _fitted(world, shares), BETA)

    return run


def _fitted(world: World, shares: Tensor) -> Tensor:
    return exact.pi_star(world.log_ref, exact.bradley_terry_scores(shares), BETA)


def imitating(
    reduction: Reduction,
    optimizer: OptimizerConfig,
    *,
    updates: int,
    new: NewWorld = drawn_table,
) -> Run:
    """SFT on responses in the proportions of pi*; `tv to data` is to their distribution.

    A sequence mean weighs a response's tokens by one over its length, which moves its optimum.
    """

    def run(seed: int) -> Reached:
        world = new(seed)
        optimum = exact.pi_star(world.log_ref, world.reward, BETA)
        counts = (_DEMONSTRATIONS * optimum.exp()).round().clamp(min=1)
        tokens = repeated(world, counts)
        imitate(world, tokens, reduction, optimizer, updates=updates, seed=seed)
        lengths = world.tree.mask.sum(-1)
        weights = counts / lengths if reduction == "sequence_mean" else counts
        own, data = exact.imitated(world.tree, weights), counts / counts.sum(-1, keepdim=True)
        logp = world.logp()
        return {
            "tv": float(exact.tv(logp, own).max()),
            "kl": float(exact.kl(logp, own).max()),
            "tv to data": float(exact.tv(logp, data.log()).max()),
        }

    return run


def expert_iteration(n: int, optimizer: OptimizerConfig, *, updates: int) -> Run:
    """SFT on the best of n sampled responses by the reward: one round of rejection sampling.

    `tv` is to the exact best-of-n distribution of the reference, `tv to reference` to where it
    started.
    """

    def run(seed: int) -> Reached:
        world = tabular_world(exact.short())
        tokens = [
            token_group(prompt.id, prompt.token_ids, best_responses(world, prompt, n, seed=seed))
            for prompt in world.prompts
        ]
        imitate(world, tokens, "token_mean", optimizer, updates=updates, seed=seed)
        exactly = [
            exact.best_of_n(*row, n) for row in zip(world.log_ref, world.reward, strict=True)
        ]
        logp = world.logp()
        return {
            "tv": float(exact.tv(logp, torch.stack(exactly).log()).max()),
            "tv to reference": float(exact.tv(logp, world.log_ref).min()),
        }

    return run


def best_responses(
    world: World, prompt: Prompt, n: int, *, seed: int
) -> tuple[tuple[int, ...], ...]:
    """What a judge keeps of each of 2,000 groups of n that the policy samples to a prompt."""
    judge = ScorerJudge(TableScorer(world.index, world.reward), ask="best", pairs_per_group=0)
    asked = world.encoder.encode_prompt(prompt)
    (rollouts,) = world.sampler.sample([asked], n * _POOLS, seed=seed)
    responses = [Response(text="", token_ids=rollout.tokens) for rollout in rollouts]
    groups = [
        Group(prompt=prompt, responses=tuple(responses[i : i + n]))
        for i in range(0, len(responses), n)
    ]
    best: list[tuple[int, ...]] = []
    for group, judgement in zip(groups, judge.judge(groups, seed=seed), strict=True):
        assert isinstance(judgement.verdict, Choice)
        best.append(group.responses[judgement.verdict.chosen].token_ids)
    return tuple(best)


def scores_of(world: World) -> Role:
    """A table of scores that starts at zero."""
    return TabularReward(world.index, torch.zeros_like(world.reward))


def rating(
    config: RewardConfig,
    *,
    updates: int,
    new: NewWorld = drawn_table,
    role: Callable[[World], Role] = scores_of,
) -> Run:
    """A reward model: the largest error of its centered scores (units of reward).

    `error` is to the fit of its labels, `to reward` to the true reward, which smoothed labels do
    not lead to.
    """

    def run(seed: int) -> Reached:
        world = new(seed)
        pairs = all_pairs(len(world.tree.responses))
        rows = judged(world, labels(world.reward), pairs)
        scores = rate(world, role(world), rows, config, updates=updates, seed=seed)
        fit = exact.bradley_terry_scores(labels(world.reward, flipped=config.label_smoothing))
        true = exact.centered(world.reward)
        return {
            "error": float((scores - fit).abs().max()),
            "to reward": float((scores - true).abs().max()),
        }

    return run


def best_of(*sizes: int) -> Run:
    """Best-of-n from sampled pools against its exact distribution F(r)^n - F(r-)^n.

    `kl - bound` is the exact KL less log n - (n - 1) / n, in nats: never above zero.
    """

    def run(seed: int) -> Reached:
        problem = exact.tabular(seed)
        log_ref = exact.logp_all(problem.tree, problem.ref_logits)
        draw = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(log_ref.exp(), _POOLS * _POOL, True, generator=draw)
        tv, excess = [], []
        for logp, reward, numbers in zip(log_ref, problem.reward, drawn, strict=True):
            pools = numbers.view(_POOLS, _POOL)
            chosen = {str(y): (pools == y).double().numpy() for y in range(len(reward))}
            for best in best_of_n_curve(reward[pools].numpy(), chosen, sizes):
                found = torch.tensor([share.mean.estimate for share in best.scores])
                truth = exact.best_of_n(logp, reward, best.n)
                tv.append(0.5 * float((found - truth).abs().sum()))
                excess.append(float(exact.kl(truth.log(), logp)) - best_of_n_kl_bound(best.n))
        return {"tv": max(tv), "kl - bound": max(excess)}

    return run
