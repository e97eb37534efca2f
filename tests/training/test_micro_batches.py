"""How a batch is cut into micro-batches changes no gradient and no metric, whatever is trained."""

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from palate.algorithms import dpo, reward, sft
from palate.algorithms.onpolicy import ALGORITHMS
from palate.batches.experience import Experience, Rollouts
from palate.batches.groups import TokenGroup, token_group
from palate.batches.padding import response_mask, response_rows
from palate.batches.pairs import Pairs, pairs_of
from palate.config.common import KlConfig, OptimizerConfig
from palate.config.onpolicy import (
    AnyOnPolicyConfig,
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.config.stages import DpoConfig, RewardConfig
from palate.interfaces import LossOf, Update
from palate.models.reward_model import critic_from, reward_from_policy
from palate.models.roles import CriticRole, PlainPolicyRole, PolicyRole, RewardRole, Role
from palate.records import Group, Preference, PreferenceGroup, Prompt, Response
from palate.training import learner
from tests.models.tiny import tiny_network

GROUPS = [
    token_group("a", (1, 5, 6), ((7, 8, 9, 3), (7, 3))),
    token_group("b", (1, 5), ((9, 9, 9, 9, 9, 9, 3), (8,), (11, 12, 3))),
    token_group("c", (1, 8, 8, 8, 8), ((4, 13), (14, 15, 16))),
    TokenGroup(
        id="d",
        prompt=(1, 3),
        responses=((5, 6, 7, 8, 9), (5, 3), (6, 7), (20, 21, 3)),
        masks=((True, False, True, True, False), (True, True), (True, True), (True, False, True)),
    ),
]
MASK = response_mask(GROUPS)
TOGETHER = [[0, 1, 2, 3]]
SPLITS = [[[2, 0], [3, 1]], [[3], [1], [0], [2]], [[1], [3, 0, 2]]]
COEF = 0.1

EXACT = 1e-12
HEADS = 1e-6  # critics and reward models give fp32, whose sums depend on their order


def noise(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=draw, dtype=torch.float64)


@cache
def rollouts() -> Rollouts:
    """A policy that has moved since it sampled: most ratios are inside the bounds, some are not."""
    now = policy()(GROUPS).logprobs.detach()
    old = now + noise(*now.shape, seed=1, scale=0.15)
    index = [number for number, group in enumerate(GROUPS) for _ in range(group.k)]
    return Rollouts(
        mask=MASK,
        sampler_logprobs=old,
        old_logprobs=old,
        ref_logprobs=now + noise(*now.shape, seed=2, scale=0.5),
        values=noise(*now.shape, seed=3),
        scores=noise(len(index), seed=4),
        finished=torch.tensor([row[-1] == 3 for group in GROUPS for row in group.responses]),
        group_index=torch.tensor(index),
    )


def policy() -> PolicyRole:
    return PolicyRole(tiny_network("gpt2").double(), layout="tree", temperature=0.9)


def plain_policy() -> PlainPolicyRole:
    return PlainPolicyRole(tiny_network("gpt2").double(), layout="tree", temperature=1.0)


def critic() -> CriticRole:
    network = critic_from(tiny_network("gpt2")).double()
    with torch.no_grad():
        network.head.weight.copy_(noise(*network.head.weight.shape, seed=5, scale=0.2))
    return CriticRole(network, layout="tree")


def rewarding() -> RewardRole:
    return RewardRole(reward_from_policy(tiny_network("gpt2"), seed=0).double(), layout="tree")


def experience(config: AnyOnPolicyConfig) -> Experience:
    return ALGORITHMS[config.stage].prepare(rollouts(), config, kl_coef=COEF)


def on_policy(config: AnyOnPolicyConfig) -> LossOf:
    made = experience(config)

    def loss(outputs, indices):
        part = made.take(response_rows(GROUPS, indices), outputs.logprobs.shape[1])
        return ALGORITHMS[config.stage].loss(outputs, part, config, kl_coef=COEF)

    return loss


def valued(config: PpoConfig) -> LossOf:
    made, critic_loss = experience(config), ALGORITHMS["ppo"].critic_loss
    assert critic_loss is not None

    def loss(outputs, indices):
        part = made.take(response_rows(GROUPS, indices), outputs.values.shape[1])
        return critic_loss(outputs, part, config)

    return loss


def judged(indices) -> Pairs:
    """One to four preferences per group, a soft one and one with a margin among them."""
    pairs = {
        "a": [(0, 1, 1.0, 0.0)],
        "b": [(0, 1, 0.7, 0.0), (2, 0, 1.0, 0.5)],
        "c": [(1, 0, 1.0, 0.0)],
        "d": [(0, 1, 1.0, 0.0), (2, 1, 0.5, 0.0), (3, 2, 1.0, 1.0), (0, 3, 0.9, 0.0)],
    }
    rows = [
        PreferenceGroup(
            group=Group(
                prompt=Prompt(token_ids=group.prompt),
                responses=tuple(Response(text="", token_ids=ids) for ids in group.responses),
            ),
            preferences=tuple(
                Preference(winner=better, loser=worse, probability=p, margin=m)
                for better, worse, p, m in pairs[group.id]
            ),
        )
        for group in (GROUPS[i] for i in indices)
    ]
    return pairs_of(rows, torch.device("cpu"))


def reference_sums() -> Tensor:
    return torch.where(MASK, rollouts().ref_logprobs, 0.0).sum(1)


def preferring(config: DpoConfig) -> LossOf:
    sums = reference_sums()

    def loss(outputs, indices):
        mask = response_mask([GROUPS[i] for i in indices])
        own = sums[response_rows(GROUPS, indices)]
        return dpo.loss(outputs, mask, own, judged(indices), config)

    return loss


def unpaired(config: DpoConfig) -> LossOf:
    sums, desirable = reference_sums(), torch.arange(len(MASK)) % 3 > 0

    def loss(outputs, indices):
        rows = response_rows(GROUPS, indices)
        mask = response_mask([GROUPS[i] for i in indices])
        return dpo.kto_loss(outputs, mask, sums[rows], desirable[rows], config, kl=0.3)

    return loss


def rated(config: RewardConfig) -> LossOf:
    return lambda outputs, indices: reward.loss(outputs, judged(indices), config)


def imitated(reduction: sft.Reduction) -> LossOf:
    def loss(outputs, indices):
        mask = response_mask([GROUPS[i] for i in indices])
        return sft.loss(outputs, mask, reduction=reduction)

    return loss


IN_LOSS = KlConfig(placement="loss", estimator="k3")
REDUCTIONS = ("token_mean", "sequence_mean", "constant")

TRAINED: dict[str, tuple[Callable[[], Role], Callable[[], LossOf], float]] = {
    "rloo": (policy, lambda: on_policy(RlooConfig()), EXACT),
    **{
        f"grpo {name}": (policy, lambda name=name: on_policy(GrpoConfig(reduction=name)), EXACT)
        for name in REDUCTIONS
    },
    "gspo": (policy, lambda: on_policy(GrpoConfig(preset="gspo")), EXACT),
    "cispo": (policy, lambda: on_policy(GrpoConfig(preset="cispo")), EXACT),
    "reinforce": (policy, lambda: on_policy(ReinforceConfig()), EXACT),
    "ppo": (policy, lambda: on_policy(PpoConfig(entropy_coef=0.1, kl=IN_LOSS)), EXACT),
    "critic": (critic, lambda: valued(PpoConfig()), HEADS),
    # Labels are made of scores, and the weights of pairs are theirs.
    "online dpo": (policy, lambda: on_policy(OnlineDpoConfig()), EXACT),
    "dpo": (plain_policy, lambda: preferring(DpoConfig(sft_coef=0.2)), EXACT),
    "simpo": (plain_policy, lambda: preferring(DpoConfig(loss="simpo")), EXACT),
    "kto": (plain_policy, lambda: unpaired(DpoConfig(loss="kto")), EXACT),
    "reward": (rewarding, lambda: rated(RewardConfig(margin_coef=1.0)), HEADS),
    "sft token_mean": (plain_policy, lambda: imitated("token_mean"), EXACT),
    "sft sequence_mean": (plain_policy, lambda: imitated("sequence_mean"), EXACT),
}


def updated(role: Role, loss: LossOf, monkeypatch, parts: list[list[int]]) -> tuple[Tensor, Update]:
    """The gradient of an update in these micro-batches, flat, and what the update reported."""
    monkeypatch.setattr(learner, "plan", lambda *_, **__: parts)
    config = OptimizerConfig(lr=0.0, clip_norm=0.0)
    subject = learner.LocalLearner(role, config, total_updates=1, budget=1)
    update = subject.update(GROUPS, loss)
    flat = [p.grad.flatten() for p in subject.parameters if p.grad is not None]
    return torch.cat(flat), update


@pytest.mark.parametrize("name", TRAINED)
def test_any_split_gives_the_gradient_and_the_metrics_of_the_whole(name, monkeypatch):
    role_of, loss_of, gate = TRAINED[name]
    role, loss = role_of(), loss_of()
    whole, expected = updated(role, loss, monkeypatch, TOGETHER)
    assert whole.dtype == torch.float64
    assert whole.norm() > 1e-3
    values = expected.metrics.values()
    assert all(map(math.isfinite, values.values()))
    for parts in SPLITS:
        gradient, update = updated(role, loss, monkeypatch, parts)
        assert (gradient - whole).norm() < gate * whole.norm()
        assert update.grad_norm == pytest.approx(expected.grad_norm, rel=1e-6)
        assert update.metrics.values() == pytest.approx(values, rel=1e-6, abs=1e-9)
