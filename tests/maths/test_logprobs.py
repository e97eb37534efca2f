import math

import pytest
import torch

from palate.maths.logprobs import entropy, selected_logprobs


def test_selected_logprobs_are_those_of_a_hand_made_softmax():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    got = selected_logprobs(logits, torch.tensor([1, 1]))
    assert got.tolist() == pytest.approx([math.log(0.75), math.log(0.2)], rel=1e-6)


def test_half_precision_logits_are_scored_in_single_precision():
    logits = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.randint(50, (3, 4), generator=torch.Generator().manual_seed(1))
    got = selected_logprobs(logits, ids)
    exact = logits.double().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    assert got.dtype == torch.float32
    assert (got - exact).abs().max() < 1e-6
    assert entropy(logits).dtype == torch.float32


def test_double_precision_stays_double():
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    every = torch.stack([selected_logprobs(logits, torch.full((5,), v)) for v in range(7)])
    assert (every.exp().sum(0) - 1).abs().max() < 1e-14


def test_large_logits_neither_overflow_nor_lose_precision():
    logits = torch.tensor([[1e4, 1e4 - 1.0]])
    assert selected_logprobs(logits, torch.tensor([1])).item() == pytest.approx(-1.3132617)


def test_entropy_is_log_n_when_uniform_and_zero_when_certain():
    logits = torch.tensor([[2.0, 2.0, 2.0, 2.0], [1e3, 0.0, 0.0, 0.0]])
    assert entropy(logits).tolist() == pytest.approx([math.log(4), 0.0], abs=1e-6)


def test_entropy_is_the_expected_surprise():
    logits = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
    p = logits.softmax(-1)[0].tolist()
    assert entropy(logits).item() == pytest.approx(-sum(q * math.log(q) for q in p))
