"""The learner divides once by the global weight, so micro-batches never change an update."""

import math

import pytest
import torch

from palate.algorithms import sft
from palate.batches.groups import TokenGroup, token_group
from palate.batches.padding import fitted, response_mask
from palate.config.common import OptimizerConfig
from palate.interfaces import Loss, Outputs
from palate.models.reward_model import reward_from_policy
from palate.models.roles import PlainPolicyRole, RewardRole
from palate.training.learner import LocalLearner, learning_rate, read_all
from tests.models.tiny import llama, tiny_network

GROUPS = [
    token_group("a", (1, 5, 6), ((7, 8, 9, 2),)),
    token_group("b", (1, 5), ((7, 2), (9, 9, 9, 9, 9, 2))),
    token_group("c", (1, 8, 8, 8, 8), ((4,),)),
    TokenGroup(id="d", prompt=(1, 3), responses=((5, 6, 7),), masks=((True, False, True),)),
]


def learner(budget: int, config: OptimizerConfig | None = None) -> LocalLearner:
    role = PlainPolicyRole(llama(), layout="tree", temperature=1.0)
    config = config or OptimizerConfig(lr=1e-2)
    return LocalLearner(role, config, total_updates=4, budget=budget)


def likelihood(groups, reduction):
    def loss(outputs: Outputs, indices) -> Loss:
        mask = response_mask([groups[i] for i in indices])
        return sft.loss(outputs, mask, reduction=reduction)

    return loss


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean"])
def test_micro_batches_change_neither_the_gradient_nor_the_metrics(reduction):
    whole, split = learner(100_000), learner(1)
    one = whole.update(GROUPS, likelihood(GROUPS, reduction))
    many = split.update(GROUPS, likelihood(GROUPS, reduction))
    assert one.grad_norm == pytest.approx(many.grad_norm, rel=1e-5)
    assert one.metrics.values()["sft/nll"] == pytest.approx(many.metrics.values()["sft/nll"])
    for a, b in zip(whole.parameters, split.parameters, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_the_reported_loss_is_the_mean_over_counted_tokens_alone():
    subject = learner(100_000)
    outputs = subject.outputs(GROUPS)
    mask = response_mask(GROUPS)
    by_hand = -sum(
        float(outputs.logprobs[row, t])
        for row in range(mask.shape[0])
        for t in range(mask.shape[1])
        if mask[row, t]
    )
    update = subject.update(GROUPS, likelihood(GROUPS, "token_mean"))
    assert int(mask.sum()) == 4 + 2 + 6 + 1 + 2
    assert update.metrics.values()["sft/nll"] == pytest.approx(by_hand / int(mask.sum()), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_outputs_come_in_the_order_of_the_groups_whatever_the_micro_batches(family):
    """The longest groups are computed first, and they stand last here."""
    lengths = ((2, 1), (9,), (22, 3), (35,))
    groups = [
        token_group(
            str(i), (1, 5 + i), tuple((*(6 + t % 30 for t in range(n - 1)), 2) for n in counts)
        )
        for i, counts in enumerate(lengths)
    ]
    policy = PlainPolicyRole(tiny_network(family), layout="tree", temperature=1.0)
    reward = RewardRole(reward_from_policy(policy.network, seed=0), layout="tree")
    alone = [read_all(policy, [group], budget=1).logprobs for group in groups]
    logprobs = torch.cat([fitted(part, 35) for part in alone])
    scores = torch.cat([read_all(reward, [group], budget=1).scores for group in groups])
    for budget in (1, 64, 100_000):
        together = read_all(policy, groups, budget=budget).logprobs
        torch.testing.assert_close(together, logprobs, rtol=1e-5, atol=1e-5)
        together = read_all(reward, groups, budget=budget).scores
        torch.testing.assert_close(together, scores, rtol=1e-5, atol=1e-5)


def mean_gradient(subject: LocalLearner) -> list[torch.Tensor]:
    """The gradient of the mean loss over all counted tokens, from one plain pass."""
    loss = likelihood(GROUPS, "token_mean")(subject.role(GROUPS), range(len(GROUPS)))
    return list(torch.autograd.grad(loss.sum / loss.weight, subject.parameters))


@pytest.mark.parametrize("budget", [1, 100_000])
def test_the_gradient_is_that_of_the_mean_and_is_clipped_as_such(budget):
    free = learner(budget, OptimizerConfig(lr=0.0, clip_norm=0.0))
    expected = mean_gradient(free)
    norm = float(torch.cat([g.flatten() for g in expected]).norm())
    update = free.update(GROUPS, likelihood(GROUPS, "token_mean"))
    assert update.grad_norm == pytest.approx(norm, rel=1e-5)
    for own, gradient in zip(free.parameters, expected, strict=True):
        torch.testing.assert_close(own.grad, gradient, rtol=1e-4, atol=1e-7)
    clipped = learner(budget, OptimizerConfig(lr=0.0, clip_norm=norm / 4))
    update = clipped.update(GROUPS, likelihood(GROUPS, "token_mean"))
    assert update.grad_norm == pytest.approx(norm, rel=1e-5)
    for own, gradient in zip(clipped.parameters, expected, strict=True):
        torch.testing.assert_close(own.grad, gradient / 4, rtol=1e-4, atol=1e-7)


def test_adam_moves_weights_by_the_rate_of_the_schedule():
    """Its first step is the rate times the sign of the gradient."""
    config = OptimizerConfig(lr=0.1, warmup_fraction=0.5, weight_decay=0.0, eps=1e-12)
    subject = learner(64, config)
    before = [p.detach().clone() for p in subject.parameters]
    update = subject.update(GROUPS, likelihood(GROUPS, "token_mean"))
    assert update.lr == pytest.approx(0.1 / 3)
    moves = [(p.detach() - b).abs().max() for p, b in zip(subject.parameters, before, strict=True)]
    assert float(torch.stack(moves).max()) == pytest.approx(0.1 / 3, rel=1e-3)


def test_a_batch_without_counted_tokens_leaves_the_weights_alone():
    subject = learner(1)
    silent = [TokenGroup(id="x", prompt=(1,), responses=((5, 6),), masks=((False, False),))]
    before = [p.detach().clone() for p in subject.parameters]
    update = subject.update(silent, likelihood(silent, "token_mean"))
    assert update.grad_norm == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, subject.parameters, strict=True))


def test_the_first_update_learns_and_the_schedule_ends_where_it_should():
    config = OptimizerConfig(lr=1.0, schedule="linear", warmup_fraction=0.2, final_fraction=0.1)
    rates = [learning_rate(config, update, 10) for update in range(11)]
    assert rates[0] == pytest.approx(1 / 3)
    assert rates[1] == pytest.approx(2 / 3)
    assert rates[2] == pytest.approx(1.0)
    assert rates[6] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[10] == pytest.approx(0.1)


def test_a_cosine_falls_from_the_peak_to_the_final_fraction():
    config = OptimizerConfig(lr=1.0, schedule="cosine", warmup_fraction=0.2, final_fraction=0.1)
    rates = [learning_rate(config, update, 10) for update in range(11)]
    assert rates[2] == pytest.approx(1.0)
    assert rates[4] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[6] == pytest.approx(0.55)
    assert rates[10] == pytest.approx(0.1)


def test_a_state_after_updates_without_the_optimizers_moments_is_refused():
    subject = learner(64)
    subject.update(GROUPS, likelihood(GROUPS, "token_mean"))
    state = {name: value for name, value in subject.state().items() if "adam." not in name}
    with pytest.raises(ValueError, match="optimizer state is of none, not of adam"):
        learner(64).load_state(state)


@pytest.mark.parametrize(("one", "other"), [("adamw", "muon"), ("muon", "adamw")])
def test_a_state_of_another_optimizer_is_refused(one, other):
    subject = learner(64, OptimizerConfig(name=one))
    subject.update(GROUPS, likelihood(GROUPS, "token_mean"))
    with pytest.raises(ValueError, match=r"optimizer state is of adam( and muon)?, not of adam"):
        learner(64, OptimizerConfig(name=other)).load_state(subject.state())


def test_adam_uses_the_configured_constants():
    config = OptimizerConfig(lr=0.5, beta1=0.7, beta2=0.9, eps=1e-3, weight_decay=0.2)
    decayed, plain = learner(1, config).optimizer.parts["adam"].param_groups
    assert decayed["betas"] == (0.7, 0.9)
    assert decayed["eps"] == 1e-3
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in plain["params"])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_restoring_a_state_repeats_the_next_update_to_the_bit(name):
    config = OptimizerConfig(name=name, lr=1e-2)
    one, two = learner(64, config), learner(64, config)
    loss = likelihood(GROUPS, "token_mean")
    one.update(GROUPS, loss)
    state = {name: tensor.clone() for name, tensor in one.state().items()}
    one.update(GROUPS, loss)
    two.load_state(state)
    two.update(GROUPS, loss)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters, two.parameters, strict=True))


def test_a_state_of_another_model_is_refused():
    subject = learner(64)
    state = subject.state()
    state["weight.stranger"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"another model.*stranger"):
        subject.load_state(state)


def test_a_gradient_that_is_not_finite_stops_the_run_with_a_remedy():
    subject = learner(64)

    def broken(outputs, indices):
        return Loss(
            sum=outputs.logprobs.sum() * float("nan"),
            weight=1.0,
            metrics=likelihood(GROUPS, "token_mean")(outputs, indices).metrics,
        )

    with pytest.raises(FloatingPointError, match=r"lower optimizer\.lr"):
        subject.update(GROUPS, broken)
