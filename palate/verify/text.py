"""Transformers, exactly: the forward pass and the generator against every response there is."""

from collections.abc import Callable

import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.models.layout import Layout
from palate.models.reward_model import reward_from_policy
from palate.models.roles import PlainPolicyRole, PolicyRole, RewardRole, Role
from palate.training.learner import read_all
from palate.verify.checks import Reached
from palate.verify.enumeration import text_problem
from palate.verify.loops import everything
from palate.verify.onpolicy import NewWorld, Run
from palate.verify.worlds import MICRO_BATCH, World, scored, transformer_world

NewNetwork = Callable[[int], PreTrainedModel]
"""A seed -> a causal language model of EP-TF's vocabulary."""

_LEAST_EXPECTED = 5
"""Cells of fewer expected counts are pooled before a chi-square approximation."""


def transformer(network: NewNetwork) -> NewWorld:
    """EP-TF; network and rewards are always the same, so that a seed is one of sampling."""
    return lambda seed: transformer_world(network(0), text_problem())


def normalized(network: NewNetwork) -> Run:
    """|sum of the probabilities of all responses - 1|, the largest over prompts and ways.

    The ways are both layouts, with and without entropies, groups of equal and of unequal size,
    alone and together in a micro-batch. `sum in double` is the same in double precision.
    """

    def run(seed: int) -> Reached:
        model = network(seed)
        world = transformer_world(model, text_problem())
        single = _farthest_from_one(model, world)
        return {"sum": single, "sum in double": _farthest_from_one(model.double(), world)}

    return run


def _farthest_from_one(model: PreTrainedModel, world: World) -> float:
    layouts: tuple[Layout, Layout] = ("tree", "rows")
    whole = everything(world)
    uneven = [part for group in whole for part in _parts(group)]
    sums = [
        scored(kind(model, layout=layout, temperature=1.0), groups, budget=budget)
        .view(len(whole), -1)
        .exp()
        .sum(-1)
        for kind in (PolicyRole, PlainPolicyRole)
        for layout in layouts
        for groups in (whole, uneven)
        for budget in (1, MICRO_BATCH)
    ]
    return float((torch.stack(sums) - 1).abs().max())


def _parts(group: TokenGroup) -> list[TokenGroup]:
    """The same responses, in order, as groups of 1, 20 and the rest."""
    cuts = (group.responses[:1], group.responses[1:21], group.responses[21:])
    return [token_group(group.id, group.prompt, responses) for responses in cuts]


def sampled(network: NewNetwork, *, draws: int, temperature: float = 1.0) -> Run:
    """The generator against the scorer, `draws` responses per prompt.

    `token` is the largest difference of a token's log-probability; `p` and `p of lengths` are
    the smallest p-values of G-tests of the drawn responses, and of their lengths.
    """

    def run(seed: int) -> Reached:
        world = transformer_world(network(seed), text_problem(), temperature=temperature)
        asked = [world.encoder.encode_prompt(prompt) for prompt in world.prompts]
        drawn = world.sampler.sample(asked, draws, seed=seed)
        groups = [
            token_group(ask.id, ask.ids, tuple(rollout.tokens for rollout in rollouts))
            for ask, rollouts in zip(asked, drawn, strict=True)
        ]
        scores = read_all(world.policy, groups, budget=MICRO_BATCH).logprobs.tolist()
        rollouts = [rollout for row in drawn for rollout in row]
        differences = [
            abs(own - score)
            for rollout, row in zip(rollouts, scores, strict=True)
            for own, score in zip(rollout.logprobs, row, strict=False)
        ]
        _, numbers = world.index.places(groups)
        expected = world.logp().exp()
        drawn_numbers = numbers.view(len(groups), draws, 1)
        counts = (drawn_numbers == torch.arange(expected.shape[1])).double().sum(1)
        lengths = one_hot(world.tree.mask.sum(-1) - 1).double()
        return {
            "token": max(differences),
            "p": g_test(counts, expected),
            "p of lengths": g_test(counts @ lengths, expected @ lengths),
        }

    return run


def g_test(counts: Tensor, probabilities: Tensor) -> float:
    """The smallest p-value over rows of counts that were drawn from rows of probabilities."""
    return min(
        _p_value(row, p * row.sum() / p.sum()) for row, p in zip(counts, probabilities, strict=True)
    )


def _p_value(counts: Tensor, expected: Tensor) -> float:
    rare = expected < _LEAST_EXPECTED
    cells = [(counts[~rare], expected[~rare])]
    if rare.any():
        cells.append((counts[rare].sum()[None], expected[rare].sum()[None]))
    observed, wanted = (torch.cat(column).numpy() for column in zip(*cells, strict=True))
    return float(stats.power_divergence(observed, wanted, lambda_="log-likelihood").pvalue)


def reward_model(world: World) -> Role:
    """A reward model on the policy's backbone."""
    assert isinstance(world.policy, PolicyRole)
    network = reward_from_policy(world.policy.network, seed=0)
    return RewardRole(network, layout=world.policy.layout)
