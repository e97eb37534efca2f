import math

import pytest
import torch

from palate.maths.reductions import sequence_mean, token_mean
from palate.maths.surrogates import (
    cispo_surrogate,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    dual_clip_binds,
    dual_clipped_surrogate,
    policy_gradient,
    ratio_bins,
    sequence_ratio,
    token_ratio,
    value_loss,
)


def loss_and_slope(surrogate, ratio, advantage):
    r = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    loss = surrogate(r, torch.tensor([[advantage]], dtype=torch.float64))
    return loss.item(), torch.autograd.grad(loss.sum(), r)[0].item()


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "slope"),
    [
        (2.0, 0.5, -1.0, -2.0),
        (2.0, 0.9, -1.8, -2.0),
        (2.0, 1.0, -2.0, -2.0),
        (2.0, 1.1, -2.2, -2.0),
        (2.0, 2.0, -2.4, 0.0),
        (-2.0, 0.5, 1.6, 0.0),
        (-2.0, 0.9, 1.8, 2.0),
        (-2.0, 1.0, 2.0, 2.0),
        (-2.0, 1.1, 2.2, 2.0),
        (-2.0, 2.0, 4.0, 2.0),
    ],
)
def test_clip_quadrants(advantage, ratio, loss, slope):
    got = loss_and_slope(lambda r, a: clipped_surrogate(r, a, low=0.2, high=0.2), ratio, advantage)
    assert got == pytest.approx((loss, slope))
    binds = clip_fraction(torch.tensor([[ratio]]), torch.tensor([[advantage]]), low=0.2, high=0.2)
    assert binds.item() == (slope == 0.0)


def test_clip_higher_lets_good_tokens_grow_further_and_leaves_the_lower_bound():
    def clip_higher(r, a):
        return clipped_surrogate(r, a, low=0.2, high=0.28)

    assert loss_and_slope(clip_higher, 1.25, 1.0) == pytest.approx((-1.25, -1.0))
    assert loss_and_slope(clip_higher, 1.3, 1.0) == pytest.approx((-1.28, 0.0))
    assert loss_and_slope(clip_higher, 0.79, -1.0) == pytest.approx((0.8, 0.0))


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "slope"),
    [(-2.0, 2.0, 4.0, 2.0), (-2.0, 5.0, 6.0, 0.0), (2.0, 5.0, -2.4, 0.0), (2.0, 0.1, -0.2, -2.0)],
)
def test_dual_clip_bounds_bad_tokens_only(advantage, ratio, loss, slope):
    got = loss_and_slope(
        lambda r, a: dual_clipped_surrogate(r, a, low=0.2, high=0.2, dual=3.0), ratio, advantage
    )
    assert got == pytest.approx((loss, slope))
    binds = dual_clip_binds(torch.tensor([[ratio]]), torch.tensor([[advantage]]), dual=3.0)
    assert bool(binds) == (advantage < 0 and slope == 0)


def test_clip_fraction_ignores_ratios_that_clipping_would_not_change():
    ratio = torch.tensor([[2.0, 2.0, 2.0, 0.1, 0.1]])
    advantage = torch.tensor([[1.0, -1.0, 0.0, -1.0, 1.0]])
    got = clip_fraction(ratio, advantage, low=0.2, high=0.2)
    assert got.tolist() == [[True, False, False, True, False]]


def test_all_surrogates_are_reinforce_at_ratio_one():
    generator = torch.Generator().manual_seed(0)
    logprobs = -torch.rand(3, 4, generator=generator, dtype=torch.float64)
    advantage = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    mask = torch.ones(3, 4).bool()

    def slope(loss):
        x = logprobs.clone().requires_grad_()
        return torch.autograd.grad(loss(x).sum(), x)[0]

    def ratio(x):
        return token_ratio(x, logprobs, mask)

    reinforce = slope(lambda x: policy_gradient(x, advantage))
    assert torch.equal(reinforce, -advantage)
    bounds = {"low": 0.2, "high": 0.2}
    for loss in (
        lambda x: clipped_surrogate(ratio(x), advantage, **bounds),
        lambda x: dual_clipped_surrogate(ratio(x), advantage, **bounds, dual=3.0),
        lambda x: cispo_surrogate(ratio(x), x, advantage, **bounds),
    ):
        assert torch.allclose(slope(loss), reinforce, atol=1e-15)


def test_cispo_clips_the_weight_and_keeps_the_gradient():
    logprobs = torch.tensor([[-1.0, -1.0, -1.0]], requires_grad=True)
    ratio, advantage = torch.tensor([[5.0, 0.1, 1.1]]), torch.tensor([[1.0, 1.0, -2.0]])
    loss = cispo_surrogate(ratio, logprobs, advantage, low=0.2, high=0.2)
    (slope,) = torch.autograd.grad(loss.sum(), logprobs)
    assert slope.tolist()[0] == pytest.approx([-1.2, -0.8, 2.2])


def test_token_ratio_is_one_in_padding_whatever_stands_there():
    logprobs = torch.tensor([[-1.0, math.nan]], requires_grad=True)
    old, mask = torch.tensor([[-1.5, 1e9]]), torch.tensor([[True, False]])
    ratio = token_ratio(logprobs, old, mask)
    assert ratio.tolist()[0] == pytest.approx([math.exp(0.5), 1.0])
    advantage = torch.tensor([[1.0, math.nan]])
    loss = clipped_surrogate(ratio, advantage, low=0.2, high=1.0)
    (slope,) = torch.autograd.grad(token_mean(loss, mask).sum, logprobs)
    assert slope.tolist()[0] == pytest.approx([-math.exp(0.5), 0.0])


def test_sequence_ratio_is_the_geometric_mean_over_valid_tokens():
    logprobs = torch.tensor([[-1.0, -2.0, -3.0, 7.0], [-0.5, 7.0, 7.0, 7.0]])
    old = torch.tensor([[-1.3, -2.0, -2.4, 0.0], [-1.5, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    got = sequence_ratio(logprobs, old, mask)
    assert got[0].tolist() == pytest.approx([math.exp(-0.1)] * 4)
    assert got[1].tolist() == pytest.approx([math.exp(1.0)] * 4)


def test_gspo_clips_whole_sequences():
    """Ratios exp(-0.1) and exp(1) with advantages 1 and 2, clipped at 1.2: means of sequences."""
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, 0.0, 0.0]], requires_grad=True)
    old = torch.tensor([[-1.3, -2.0, -2.4], [-1.5, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    advantage = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    ratio = sequence_ratio(logprobs, old, mask)
    reduced = sequence_mean(clipped_surrogate(ratio, advantage, low=0.2, high=0.2), mask)
    assert reduced.sum.item() == pytest.approx(-math.exp(-0.1) - 2.4)
    (slope,) = torch.autograd.grad(reduced.sum, logprobs)
    assert slope[0].tolist() == pytest.approx([-math.exp(-0.1) / 3] * 3)
    assert slope[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "slope"),
    [
        (1.1, 1.0, 3.0, 1.805, -1.9),
        (2.0, 1.0, 3.0, 1.62, 0.0),
        (2.0, 1.0, 0.0, 2.0, 2.0),
        (0.0, 1.0, -1.0, 1.62, 0.0),
        (0.0, 1.0, 3.0, 4.5, -3.0),
        (1.0, 1.0, 1.0, 0.0, 0.0),
    ],
)
def test_value_clip_truth_table(value, old, target, loss, slope):
    values = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    old_values, returns = torch.tensor([[old]]).double(), torch.tensor([[target]]).double()
    got = clipped_value_loss(values, old_values, returns, clip=0.2)
    assert got.item() == pytest.approx(loss)
    assert torch.autograd.grad(got.sum(), values)[0].item() == pytest.approx(slope)


def test_value_loss_is_half_the_square():
    assert value_loss(torch.tensor([[3.0]]), torch.tensor([[1.0]])).item() == 2.0
    wide = clipped_value_loss(*(torch.tensor([[v]]) for v in (3.0, 0.0, 1.0)), clip=100.0)
    assert wide.item() == 2.0


def test_ratios_are_binned_in_ninths_of_their_bounds_which_belong_to_the_inside():
    ratio = torch.tensor([[1.0, 1.02, 1.25, 1.27, 0.8, 0.79, 0.0, 5.0, 0.93]])
    bins = ratio_bins(ratio, low=0.2, high=0.25)
    assert bins.tolist() == [[0.0, 0.0, 4.0, 5.0, -4.0, -5.0, -9.0, 9.0, -2.0]]
