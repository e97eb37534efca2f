import math

import pytest
import torch

from palate.maths.kl import k1, k1_cumulative, k2, k3, k3_cumulative


def of_log_ratio(estimator, value):
    log_ratio = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    estimate = estimator(log_ratio, torch.zeros_like(log_ratio))
    (slope,) = torch.autograd.grad(estimate.sum(), log_ratio)
    return estimate.item(), slope.item()


def test_signs_on_two_outcomes():
    """Policy (0.8, 0.2), reference (0.5, 0.5): KL(policy || reference) = 0.1927 nats."""
    policy, ref = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert k1(policy, ref).tolist()[0] == pytest.approx([0.4700, -0.9163], abs=1e-4)
    assert k2(policy, ref).tolist()[0] == pytest.approx([0.1105, 0.4198], abs=1e-4)
    assert k3(policy, ref).tolist()[0] == pytest.approx([0.0950, 0.5837], abs=1e-4)
    for estimator in (k1, k3):
        assert (policy.exp() * estimator(policy, ref)).sum().item() == pytest.approx(
            0.1927, abs=1e-4
        )


def test_k3_is_exact_for_tiny_log_ratios():
    assert of_log_ratio(k3, 1e-6)[0] == pytest.approx(5e-13 - 1e-18 / 6, rel=1e-8, abs=0)
    assert of_log_ratio(k3, -1e-6)[0] == pytest.approx(5e-13 + 1e-18 / 6, rel=1e-8, abs=0)


@pytest.mark.parametrize("value", [-50.0, -15.0, -12.0, 12.0, 15.0, 50.0])
def test_k3_never_loses_its_gradient_far_from_the_reference(value):
    estimate, slope = of_log_ratio(k3, value)
    assert estimate == pytest.approx(math.exp(-value) - 1 + value, rel=1e-12)
    assert slope == pytest.approx(1 - math.exp(-value), rel=1e-12)
    assert abs(slope) > 0.99


def test_k2_slope_is_the_log_ratio_itself():
    assert of_log_ratio(k2, -1.5) == (1.125, -1.5)


@pytest.mark.parametrize(("cumulative", "plain"), [(k1_cumulative, k1), (k3_cumulative, k3)])
def test_cumulative_forms_multiply_by_the_ratio_of_the_whole_prefix(cumulative, plain):
    logprobs = torch.tensor([[-1.0, -2.0, -0.5, 0.0]])
    old, ref = logprobs - torch.tensor([[0.1, 0.7, -0.3, 0.0]]), logprobs - 0.4
    mask = torch.tensor([[True, False, True, False]])
    got = cumulative(logprobs, ref, old, mask)
    each = plain(logprobs, ref)[0]
    expected = [each[0].item() * math.exp(0.1), 0.0, each[2].item() * math.exp(-0.2), 0.0]
    assert got.tolist()[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cumulative", [k1_cumulative, k3_cumulative])
def test_garbage_in_padding_reaches_neither_value_nor_gradient(cumulative):
    clean = torch.tensor([[-1.0, -2.0, -0.5]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    slopes = []
    for garbage in (0.0, 1e9, math.nan):
        logprobs = clean.clone().requires_grad_()
        dirty = torch.where(mask, clean - 0.3, garbage)
        estimate = cumulative(logprobs, dirty, dirty, mask)
        slopes.append(torch.autograd.grad(estimate.sum(), logprobs)[0][mask])
        assert estimate[0, 2] == 0
    assert torch.equal(slopes[0], slopes[1])
    assert torch.equal(slopes[0], slopes[2])
