"""Each objective through the shipped loop that trains it: a world in, a trained world out."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from palate.algorithms import dpo, reward, sft
from palate.algorithms.onpolicy import Algorithm
from palate.batches.groups import TokenGroup, token_group
from palate.batches.padding import response_mask, response_rows
from palate.batches.pairs import pairs_of
from palate.config.common import OptimizerConfig
from palate.config.onpolicy import AnyOnPolicyConfig, PpoConfig
from palate.config.stages import DpoConfig, RewardConfig
from palate.interfaces import Loss, Outputs
from palate.maths.reductions import masked_sum
from palate.models.roles import Role
from palate.records import Group, Preference, PreferenceGroup, Response
from palate.training.checkpoints import Checkpoints
from palate.training.examples import Examples
from palate.training.fit import fit
from palate.training.improve import Actors, OnlineLoop
from palate.training.learner import LocalLearner, read_all
from palate.training.reference import Averaged, Frozen
from palate.verify.enumeration import centered
from palate.verify.worlds import MICRO_BATCH, TableScorer, World

LossOfRows = Callable[[Outputs, list[int]], Loss]
"""(outputs for some rows of the data, those rows) -> the loss."""

_NEVER = 10**9


class History:
    """`Monitor` that keeps every value a loop logs, by name and in order."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Append the values of one step."""
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)


def improve(
    world: World, algorithm: Algorithm, config: AnyOnPolicyConfig, *, groups: int = 1, seed: int
) -> History:
    """Train the world's policy (for PPO its critic too) by the online loop; what that logged.

    Every step has `groups` groups of `config.k` responses to every prompt.
    """
    history = History()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), every=_NEVER)
        loop = online_loop(world, algorithm, config, seed=seed)
        loop.run(world.prompts * groups, monitor=history, checkpoints=checkpoints)
    return history


def online_loop(
    world: World, algorithm: Algorithm, config: AnyOnPolicyConfig, *, seed: int
) -> OnlineLoop:
    """The online loop with everybody of a world in it."""
    updates = config.steps * config.epochs * config.minibatches

    def learner(role: Role, optimizer: OptimizerConfig) -> LocalLearner:
        return LocalLearner(role, optimizer, total_updates=updates, budget=MICRO_BATCH)

    critic = None
    if isinstance(config, PpoConfig):
        critic = learner(world.critic, config.critic_optimizer)
    actors = Actors(
        policy=learner(world.policy, config.optimizer),
        reference=reference_of(world, config),
        sampler=world.sampler,
        scorer=TableScorer(world.index, world.reward),
        encoder=world.encoder,
        critic=critic,
    )
    return OnlineLoop(actors, algorithm, config, run_seed=seed)


def reference_of(world: World, config: AnyOnPolicyConfig) -> Frozen | Averaged:
    """The world's reference, at rest or following the policy."""
    if config.reference == "frozen":
        return Frozen(world.reference)
    weights = {name: weight.data for name, weight in world.reference.trained().items()}
    return Averaged(world.reference, weights, decay=config.reference_decay)


def prefer(
    world: World,
    rows: Sequence[PreferenceGroup],
    config: DpoConfig,
    *,
    updates: int,
    seed: int,
) -> None:
    """Train the world's policy on preferences by the DPO family, all rows in every update."""
    tokens = [world.encoder.encode_group(row.group) for row in rows]
    outputs = read_all(world.reference, tokens, budget=MICRO_BATCH)
    sums = masked_sum(outputs.logprobs, response_mask(tokens).to(outputs.logprobs.device))

    def loss(outputs: Outputs, chosen: list[int]) -> Loss:
        device = outputs.logprobs.device
        mask = response_mask([tokens[i] for i in chosen]).to(device)
        pairs = pairs_of([rows[i] for i in chosen], device)
        return dpo.loss(outputs, mask, sums[response_rows(tokens, chosen)], pairs, config)

    _fit(world.policy, tokens, loss, config.optimizer, updates=updates, seed=seed)


def imitate(
    world: World,
    tokens: Sequence[TokenGroup],
    reduction: sft.Reduction,
    optimizer: OptimizerConfig,
    *,
    updates: int,
    seed: int,
) -> None:
    """Train the world's policy on demonstrations, all of them in every update."""

    def loss(outputs: Outputs, chosen: list[int]) -> Loss:
        mask = response_mask([tokens[i] for i in chosen]).to(outputs.logprobs.device)
        return sft.loss(outputs, mask, reduction=reduction)

    _fit(world.policy, tokens, loss, optimizer, updates=updates, seed=seed)


def rate(
    world: World,
    role: Role,
    rows: Sequence[PreferenceGroup],
    config: RewardConfig,
    *,
    updates: int,
    seed: int,
) -> Tensor:
    """Train a reward model on preferences; its centered scores [prompt, response] afterwards."""
    tokens = [world.encoder.encode_group(row.group) for row in rows]

    def loss(outputs: Outputs, chosen: list[int]) -> Loss:
        pairs = pairs_of([rows[i] for i in chosen], outputs.scores.device)
        return reward.loss(outputs, pairs, config)

    _fit(role, tokens, loss, config.optimizer, updates=updates, seed=seed)
    scores = read_all(role, everything(world), budget=MICRO_BATCH).scores
    return centered(scores.double().view(len(rows), -1).cpu())


def _fit(
    role: Role,
    tokens: Sequence[TokenGroup],
    loss: LossOfRows,
    optimizer: OptimizerConfig,
    *,
    updates: int,
    seed: int,
) -> None:
    learner = LocalLearner(role, optimizer, total_updates=updates, budget=MICRO_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            learner,
            Examples(
                tokens,
                lambda batch: lambda outputs, indices: loss(outputs, [batch[i] for i in indices]),
            ),
            batch=len(tokens),
            run_seed=seed,
            monitor=History(),
            checkpoints=Checkpoints(Path(folder), every=_NEVER),
        )


def everything(world: World) -> list[TokenGroup]:
    """Every response to every prompt, as token groups."""
    return [
        token_group(prompt.id, prompt.token_ids, world.tree.responses) for prompt in world.prompts
    ]


def judged(
    world: World, probability: Tensor, pairs: Sequence[tuple[int, int]], *, margin: float = 0.0
) -> list[PreferenceGroup]:
    """One group per prompt, of all its responses, with a soft label for each of these pairs.

    `probability` [prompt, response, response] is that of the first being preferred to the second.
    """
    responses = tuple(
        Response(text=world.encoder.decode(ids), token_ids=ids) for ids in world.tree.responses
    )
    return [
        PreferenceGroup(
            group=Group(prompt=prompt, responses=responses),
            preferences=tuple(
                Preference(winner=i, loser=j, probability=table[i][j], margin=margin)
                for i, j in pairs
            ),
        )
        for prompt, table in zip(world.prompts, probability.tolist(), strict=True)
    ]


def repeated(world: World, counts: Tensor) -> list[TokenGroup]:
    """Demonstrations: to every prompt each response as many times as `counts` says."""
    return [
        token_group(
            prompt.id,
            prompt.token_ids,
            tuple(
                response
                for response, count in zip(world.tree.responses, row, strict=True)
                for _ in range(count)
            ),
        )
        for prompt, row in zip(world.prompts, counts.long().tolist(), strict=True)
    ]
