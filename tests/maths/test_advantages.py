import math

import pytest
import torch

from palate.maths.advantages import (
    batch_scaled,
    gae,
    group_mean_centered,
    group_scaled,
    leave_one_out,
    live_groups,
    on_tokens,
    overlong,
    sequence_rewards,
    token_rewards,
    whitened,
)


def group_standardized(rewards, group_index):
    """As published GRPO puts them together."""
    return group_scaled(group_mean_centered(rewards, group_index), rewards, group_index)


RELATIVE = [leave_one_out, group_mean_centered, group_standardized]


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_mask(rows, length, seed=0):
    """Rows of every length from 0 up, with gaps as in multi-turn responses."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, length, generator=generator) < 0.6
    return mask & (torch.arange(length) < torch.arange(rows)[:, None])


def gae_by_definition(rewards, values, gamma, lam):
    """sum_l (gamma lam)^l delta_{t+l} over a plain list of tokens, in O(L^2)."""
    values = [*values, 0.0]
    deltas = [r + gamma * values[t + 1] - values[t] for t, r in enumerate(rewards)]
    return [
        sum((gamma * lam) ** i * delta for i, delta in enumerate(deltas[t:]))
        for t in range(len(rewards))
    ]


# rewards


def test_score_is_added_once_at_the_last_token_and_kl_is_charged_everywhere():
    kl = torch.tensor([[1.0, 2.0, 3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True, False, False]])
    got = token_rewards(torch.tensor([10.0]), kl, mask, coef=0.5)
    assert got.tolist() == [[-0.5, -1.0, 8.5, 0.0, 0.0]]


def test_score_goes_to_the_last_valid_token_of_a_multi_turn_response():
    kl = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, False, True, False]])
    got = token_rewards(torch.tensor([4.0]), kl, mask, coef=1.0)
    assert got.tolist() == [[-1.0, 0.0, 3.0, 0.0]]


def test_an_empty_response_gets_no_reward():
    mask = torch.tensor([[False, False], [True, False]])
    got = token_rewards(torch.tensor([3.0, 4.0]), torch.zeros(2, 2), mask, coef=1.0)
    assert got.tolist() == [[0.0, 0.0], [4.0, 0.0]]


def test_token_rewards_sum_to_the_sequence_reward():
    kl, mask, scores = random(6, 5), random_mask(6, 5), random(6, seed=1)
    per_token = token_rewards(scores, kl, mask, coef=0.3).sum(1)
    whole = sequence_rewards(scores, kl, mask, coef=0.3)
    some = mask.any(1)
    assert some.sum() > 3
    assert torch.allclose(per_token[some], whole[some])
    assert whole[1] == scores[1] - 0.3 * kl[1][mask[1]].sum()


# gae


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (0.97, 1.0)])
def test_gae_agrees_with_its_definition_on_the_valid_tokens(seed, gamma, lam):
    rewards, values, mask = random(9, 8, seed=seed), random(9, 8, seed=9), random_mask(9, 8, seed)
    got = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for i, valid in enumerate(mask):
        args = (rewards[i][valid].tolist(), values[i][valid].tolist(), gamma, lam)
        expected = torch.tensor(gae_by_definition(*args), dtype=torch.float64)
        assert torch.allclose(got.advantages[i][valid], expected, atol=1e-14)
        assert torch.allclose(got.returns[i][valid], expected + values[i][valid], atol=1e-14)
    assert got.advantages[~mask].abs().sum() == 0
    assert got.returns[~mask].abs().sum() == 0


def test_gae_with_lambda_one_is_return_minus_value():
    rewards, values, mask = random(3, 6), random(3, 6, seed=1), torch.ones(3, 6).bool()
    to_go = rewards.flip(1).cumsum(1).flip(1)
    got = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    assert torch.allclose(got.advantages, to_go - values)
    assert torch.allclose(got.returns, to_go)


def test_gae_with_lambda_zero_is_the_temporal_difference():
    rewards, values, mask = random(3, 6), random(3, 6, seed=1), torch.ones(3, 6).bool()
    after = torch.nn.functional.pad(values[:, 1:], (0, 1))
    got = gae(rewards, values, mask, gamma=0.9, lam=0.0)
    assert torch.allclose(got.advantages, rewards + 0.9 * after - values)


def test_gae_does_not_look_past_the_end_of_a_response():
    rewards, values = torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[0.5, 0.25, 7.0]])
    mask = torch.tensor([[True, True, False]])
    got = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    assert got.advantages.tolist() == [[2.5, 1.75, 0.0]]
    assert got.returns.tolist() == [[3.0, 2.0, 0.0]]


def test_garbage_in_padding_does_not_reach_advantages():
    rewards, values, mask = random(5, 6), random(5, 6, seed=1), random_mask(5, 6)
    clean = gae(rewards, values, mask, gamma=0.9, lam=0.9)
    dirty = gae(rewards.where(mask, math.nan), values.where(mask, 1e9), mask, gamma=0.9, lam=0.9)
    assert torch.equal(clean.advantages, dirty.advantages)
    assert torch.equal(clean.returns, dirty.returns)


# groups


@pytest.mark.parametrize(
    ("rewards", "alone", "mean", "standardized"),
    [
        ([1.0, 3.0], [-2.0, 2.0], [-1.0, 1.0], [-(0.5**0.5), 0.5**0.5]),
        ([0.0, 0.0, 3.0], [-1.5, -1.5, 3.0], [-1, -1, 2], [-1 / 3**0.5, -1 / 3**0.5, 2 / 3**0.5]),
        (
            [1.0, 2.0, 3.0, 6.0],
            [-8 / 3, -4 / 3, 0.0, 4.0],
            [-2.0, -1.0, 0.0, 3.0],
            [-2 / (14 / 3) ** 0.5, -1 / (14 / 3) ** 0.5, 0.0, 3 / (14 / 3) ** 0.5],
        ),
    ],
)
def test_relative_advantages_by_hand(rewards, alone, mean, standardized):
    r, one_group = torch.tensor(rewards), torch.zeros(len(rewards), dtype=torch.long)
    assert leave_one_out(r, one_group).tolist() == pytest.approx(alone)
    assert group_mean_centered(r, one_group).tolist() == pytest.approx(mean)
    assert group_standardized(r, one_group).tolist() == pytest.approx(standardized, rel=1e-5)


@pytest.mark.parametrize("advantage", RELATIVE)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 / 3, -0.7])
def test_equal_rewards_give_exactly_zero(advantage, value):
    for size in (2, 3, 5, 7):
        got = advantage(torch.full((size,), value), torch.zeros(size, dtype=torch.long))
        assert got.tolist() == [0.0] * size


def test_a_group_of_almost_equal_rewards_does_not_blow_up():
    spread = torch.tensor([0.0, 1e-4, 2e-4, 1e-4], dtype=torch.float64)
    index = torch.zeros(4, dtype=torch.long)
    got = group_standardized(100.0 + spread, index)
    assert torch.allclose(got, group_standardized(1e3 * spread, index), atol=0.02)
    assert group_standardized(100.0 + 1e-6 * spread, index).abs().max() < 1e-3


@pytest.mark.parametrize("advantage", RELATIVE)
def test_a_group_of_one_is_refused(advantage):
    with pytest.raises(ValueError, match="at least 2 responses"):
        advantage(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 0]))


@pytest.mark.parametrize("advantage", RELATIVE)
def test_groups_go_by_number_not_by_place(advantage):
    rewards, index = random(9), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    ordered = advantage(rewards, index)
    assert torch.allclose(advantage(rewards[order], index[order]), ordered[order])
    alone = advantage(rewards[3:5], torch.zeros(2, dtype=torch.long))
    assert torch.allclose(ordered[3:5], alone)


@pytest.mark.parametrize("advantage", RELATIVE)
def test_a_constant_per_prompt_changes_no_advantage(advantage):
    rewards, index = random(6), torch.tensor([0, 1, 2, 0, 1, 2])
    shifted = rewards + torch.tensor([10.0, -3.0, 0.5])[index]
    assert torch.allclose(advantage(rewards, index), advantage(shifted, index), atol=1e-12)


def test_batch_scaling_divides_all_groups_by_one_number():
    scaled = batch_scaled(torch.tensor([-2.0, 2.0, -1.0, 1.0]))
    std = (10 / 3) ** 0.5
    assert scaled.tolist() == pytest.approx([-2 / std, 2 / std, -1 / std, 1 / std], rel=1e-5)
    assert batch_scaled(torch.zeros(4)).tolist() == [0.0] * 4


def test_on_tokens_repeats_over_valid_tokens_only():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    got = on_tokens(torch.tensor([2.0, -1.0]), mask)
    assert got.tolist() == [[2.0, 2.0, 0.0], [-1.0, 0.0, 0.0]]


# whitening


def test_whitened_has_mean_zero_and_variance_one_over_valid_tokens():
    x, mask = 3.0 + 2.0 * random(8, 7), random_mask(8, 7)
    got = whitened(x, mask)
    assert got[mask].mean().abs() < 1e-12
    assert got[mask].var(correction=0).item() == pytest.approx(1.0, abs=1e-7)
    assert got[~mask].abs().sum() == 0


@pytest.mark.parametrize("garbage", [0.0, 1e9, math.nan])
def test_whitening_ignores_padding(garbage):
    x, mask = random(8, 7), random_mask(8, 7)
    assert torch.equal(whitened(x.where(mask, garbage), mask), whitened(x, mask))


def test_whitening_keeps_order_and_sign_of_differences():
    got = whitened(torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3).bool())[0].tolist()
    assert got == pytest.approx([-1.0690, -0.2673, 1.3363], abs=1e-4)


def test_whitening_nothing_or_a_constant_is_zero():
    assert whitened(torch.ones(1, 3), torch.zeros(1, 3).bool()).tolist() == [[0.0] * 3]
    assert whitened(torch.ones(1, 3), torch.ones(1, 3).bool()).tolist() == [[0.0] * 3]


def test_the_overlong_ramp_is_that_of_dapo():
    """L_max 20, L_cache 5: nothing up to 15 tokens, then a fifth per token, all at 20."""
    lengths = torch.tensor([1, 15, 16, 18, 20])
    ramp = overlong(lengths, longest=20, fraction=0.25)
    torch.testing.assert_close(ramp, torch.tensor([0.0, 0.0, 0.2, 0.6, 1.0]))


def test_groups_are_live_when_any_two_rewards_differ_in_whatever_order_they_stand():
    rewards = torch.tensor([0.1, 2.0, 0.1, -3.0, 2.0, 0.1, 5.0])
    groups = torch.tensor([0, 1, 0, 2, 2, 0, 3])
    assert live_groups(rewards, groups).tolist() == [False, False, True, False]
