import math

import pytest
import torch

from palate.maths.reductions import (
    constant,
    masked_mean,
    masked_sum,
    sequence_mean,
    sequence_sum,
    token_mean,
)

LOSSES = torch.tensor([[1.0] * 4 + [10.0] + [math.nan] * 5, [1.0] * 9 + [10.0]])
MASK = torch.tensor([[True] * 5 + [False] * 5, [True] * 10])


def of_length_ten(per_token, mask):
    return constant(per_token, mask, length=10)


REDUCTIONS = [token_mean, sequence_mean, sequence_sum, of_length_ten]


@pytest.mark.parametrize(
    ("reduction", "weight", "mean"),
    [
        (token_mean, 15, 2.2),
        (sequence_mean, 2, 2.35),
        (sequence_sum, 2, 16.5),
        (of_length_ten, 2, 1.65),
    ],
)
def test_two_responses_of_lengths_five_and_ten(reduction, weight, mean):
    reduced = reduction(LOSSES, MASK)
    assert reduced.weight == weight
    assert reduced.sum.item() / reduced.weight == pytest.approx(mean)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_sums_and_weights_add_up_over_micro_batches(reduction):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(7, 6, generator=generator) < 0.5
    whole = reduction(x, mask)
    parts = [reduction(x[rows], mask[rows]) for rows in ([0], [1, 2, 3], [4, 5], [6])]
    assert sum(part.sum for part in parts).item() == pytest.approx(whole.sum.item(), rel=1e-14)
    assert sum(part.weight for part in parts) == whole.weight


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_more_padding_changes_nothing(reduction):
    wider, mask = torch.nn.functional.pad(LOSSES, (0, 3)), torch.nn.functional.pad(MASK, (0, 3))
    assert reduction(wider, mask) == reduction(LOSSES, MASK)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_response_without_valid_tokens_counts_nowhere(reduction):
    empty = torch.zeros(1, 10).bool()
    with_empty = reduction(torch.cat([LOSSES, LOSSES[:1]]), torch.cat([MASK, empty]))
    without = reduction(LOSSES, MASK)
    assert with_empty.sum == without.sum
    assert with_empty.weight == without.weight


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_fully_masked_batch_has_zero_loss_and_zero_gradient(reduction):
    x = torch.full((2, 10), math.nan, requires_grad=True)
    reduced = reduction(x, torch.zeros(2, 10).bool())
    reduced.sum.backward()
    assert (reduced.sum.item(), reduced.weight) == (0.0, 0.0)
    assert x.grad.abs().sum() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_masked_entries_get_no_gradient(reduction):
    x = LOSSES.clone().requires_grad_()
    reduction(x, MASK).sum.backward()
    assert (x.grad[~MASK] == 0).all()
    assert (x.grad[MASK] > 0).all()


def test_masked_sum_and_mean_per_response():
    assert masked_sum(LOSSES, MASK).tolist() == [14.0, 19.0]
    assert masked_mean(LOSSES, MASK).tolist() == pytest.approx([2.8, 1.9])
    assert masked_mean(LOSSES, torch.zeros_like(MASK)).tolist() == [0.0, 0.0]
