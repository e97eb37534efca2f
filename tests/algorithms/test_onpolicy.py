"""PPO, GRPO and RLOO put their parts together as they say: by hand on two groups of two."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from palate.algorithms import grpo, online_dpo, ppo, reinforce, rloo
from palate.algorithms.rlhf import rollout_metrics, scores_of, sequence_rewards
from palate.batches.experience import Experience, Rollouts
from palate.config.common import KlConfig, SamplingConfig
from palate.config.onpolicy import (
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.interfaces import Outputs

MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
OLD = torch.tensor([[-1.0, -2, -0.5], [-0.3, 9, 9], [-1.5, -0.2, 9], [-0.7, -0.1, -2.0]])
REF = torch.tensor([[-1.2, -1.0, -0.5], [-0.9, 9, 9], [-1.5, -0.4, 9], [-0.2, -0.1, -1.0]])
K1 = torch.tensor([0.2 - 1.0 + 0.0, 0.6, 0.0 + 0.2, -0.5 + 0.0 - 1.0])
SCORES = torch.tensor([1.0, -1.0, 0.5, 2.0])


def rollouts(values=None) -> Rollouts:
    return Rollouts(
        mask=MASK,
        sampler_logprobs=OLD + torch.tensor([0.01, -0.01, 0.01]),
        old_logprobs=OLD,
        ref_logprobs=REF,
        values=torch.zeros(4, 3) if values is None else values,
        scores=SCORES,
        finished=torch.tensor([True, True, True, False]),
        group_index=torch.tensor([0, 0, 1, 1]),
    )


def outputs(logprobs: torch.Tensor, values: torch.Tensor | None = None) -> Outputs:
    entropy = torch.full_like(logprobs, 0.7)
    empty = torch.zeros(0)
    return Outputs(
        logprobs=logprobs,
        entropy=entropy,
        values=empty if values is None else values,
        scores=empty,
    )


def test_the_missing_eos_penalty_is_subtracted_once_and_only_where_nothing_ended():
    shaped = scores_of(rollouts(), RlooConfig(missing_eos_penalty=0.75))
    assert shaped.tolist() == [1.0, -1.0, 0.5, 1.25]


def test_the_overlong_ramp_takes_the_place_of_the_cliff():
    """Lengths 3, 1, 2, 3 of at most 4; the last three quarters of them rise from 0 to the whole."""
    config = RlooConfig(
        missing_eos_penalty=0.6, overlong_fraction=0.75, sampling=SamplingConfig(max_tokens=4)
    )
    shaped = scores_of(rollouts(), config)
    torch.testing.assert_close(shaped, SCORES - 0.6 * torch.tensor([2 / 3, 0.0, 1 / 3, 2 / 3]))


@pytest.mark.parametrize(("placement", "coef"), [("reward", 0.5), ("loss", 0.0)])
def test_the_sequence_reward_charges_k1_only_when_the_kl_is_in_the_reward(placement, coef):
    config = RlooConfig(missing_eos_penalty=0, kl=KlConfig(placement=placement, estimator="k2"))
    rewards = sequence_rewards(rollouts(), config, kl_coef=0.5)
    torch.testing.assert_close(rewards, SCORES - coef * K1)


def test_rloo_compares_with_the_other_response_of_the_same_prompt():
    config = RlooConfig(k=2, missing_eos_penalty=0.0)
    experience = rloo.prepare(rollouts(), config, kl_coef=0.5)
    reward = SCORES - 0.5 * K1
    expected = torch.stack(
        [reward[0] - reward[1], reward[1] - reward[0], reward[2] - reward[3], reward[3] - reward[2]]
    )
    torch.testing.assert_close(experience.advantages, torch.where(MASK, expected[:, None], 0.0))


def test_rloo_is_the_policy_gradient_summed_over_tokens_and_averaged_over_responses():
    config = RlooConfig(k=2)
    experience = rloo.prepare(rollouts(), config, kl_coef=0.1)
    logprobs = OLD.clone().requires_grad_(True)
    loss = rloo.loss(outputs(logprobs), experience, config, kl_coef=0.1)
    (loss.sum / loss.weight).backward()
    assert loss.weight == 4
    torch.testing.assert_close(logprobs.grad, -experience.advantages / 4)


def test_grpo_choices_of_baseline_and_scale():
    def advantages(**choices):
        config = GrpoConfig(k=2, missing_eos_penalty=0.0, **choices)
        return grpo.prepare(rollouts(), config, kl_coef=0.0).advantages[:, 0]

    torch.testing.assert_close(advantages(), torch.tensor([2.0, -2.0, -1.5, 1.5]))
    torch.testing.assert_close(
        advantages(baseline="group_mean"), torch.tensor([1.0, -1.0, -0.75, 0.75])
    )
    published = advantages(scale="group", baseline="group_mean")
    torch.testing.assert_close(published.abs(), torch.full((4,), 2**-0.5), rtol=1e-3, atol=0)
    torch.testing.assert_close(advantages(scale="group"), 2 * published)
    spread = torch.tensor([2.0, -2.0, -1.5, 1.5]).std()
    torch.testing.assert_close(advantages(scale="batch")[0], 2.0 / spread, rtol=1e-4, atol=0)


def test_ppo_scores_the_last_token_and_charges_every_token_its_own_kl():
    config = PpoConfig(gae_lambda=1.0, whiten_advantages=False, missing_eos_penalty=0.0, k=2)
    experience = ppo.prepare(rollouts(), config, kl_coef=0.5)
    row = [1.0 - 0.5 * (0.2 - 1.0), 1.0 - 0.5 * (-1.0), 1.0]
    torch.testing.assert_close(experience.advantages[0], torch.tensor(row))
    torch.testing.assert_close(experience.returns[1], torch.tensor([-1.0 - 0.3, 0.0, 0.0]))


def test_ppo_returns_come_from_the_raw_advantages_even_when_they_are_whitened():
    values = torch.where(MASK, torch.arange(12.0).reshape(4, 3) / 10, 0.0)
    raw = ppo.prepare(rollouts(values), PpoConfig(whiten_advantages=False), kl_coef=0.2)
    white = ppo.prepare(rollouts(values), PpoConfig(), kl_coef=0.2)
    torch.testing.assert_close(raw.returns, white.returns)
    torch.testing.assert_close(
        raw.returns, torch.where(MASK, raw.advantages + values, 0.0), rtol=1e-5, atol=1e-6
    )
    assert abs(float(white.advantages[MASK].mean())) < 1e-6


def experience_for(algorithm: str) -> tuple[Experience, object]:
    if algorithm == "ppo":
        config = PpoConfig(k=2)
        return ppo.prepare(rollouts(), config, kl_coef=0.3), config
    config = GrpoConfig(k=2, sampling={"max_tokens": 8})
    return grpo.prepare(rollouts(), config, kl_coef=0.3), config


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_clipped_policy_follows_its_advantages_and_ignores_masked_tokens(algorithm):
    experience, config = experience_for(algorithm)
    module = {"ppo": ppo, "grpo": grpo}[algorithm]
    logprobs = OLD.clone()
    logprobs[~MASK] = float("nan")
    logprobs.requires_grad_(True)
    loss = module.loss(outputs(logprobs), experience, config, kl_coef=0.3)
    loss.sum.backward()
    gradient = logprobs.grad
    assert torch.isfinite(loss.sum)
    assert torch.equal(gradient[~MASK], torch.zeros_like(gradient[~MASK]))
    assert torch.equal(torch.sign(gradient[MASK]), -torch.sign(experience.advantages[MASK]))
    assert loss.weight == (float(MASK.sum()) if algorithm == "ppo" else 4.0)
    assert loss.metrics.values()["policy/clip_fraction"] == 0.0


def test_the_constant_reduction_divides_by_the_longest_allowed_response():
    experience, config = experience_for("grpo")
    loss = grpo.loss(outputs(OLD), experience, config, kl_coef=0.3)
    expected = -float(experience.advantages[MASK].sum()) / 8
    assert float(loss.sum) == pytest.approx(expected, rel=1e-5)


def test_the_entropy_bonus_lowers_the_loss():
    experience, _ = experience_for("ppo")
    plain = ppo.loss(outputs(OLD), experience, PpoConfig(k=2), kl_coef=0.0)
    bonus = ppo.loss(outputs(OLD), experience, PpoConfig(k=2, entropy_coef=0.1), kl_coef=0.0)
    assert float(bonus.sum - plain.sum) == pytest.approx(-0.1 * 0.7 * float(MASK.sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k2", 0.5 * ((OLD - REF)[MASK] ** 2).sum()),
        ("k3", ((REF - OLD).exp() - 1 - (REF - OLD))[MASK].sum()),
    ],
)
def test_a_kl_in_the_loss_is_added_once_with_its_coefficient(estimator, expected):
    kl = KlConfig(placement="loss", estimator=estimator)
    config = PpoConfig(k=2, kl=kl, whiten_advantages=False)
    experience = ppo.prepare(rollouts(), config, kl_coef=0.3)
    without = ppo.loss(outputs(OLD), experience, PpoConfig(k=2), kl_coef=0.3)
    with_kl = ppo.loss(outputs(OLD), experience, config, kl_coef=0.3)
    assert float(with_kl.sum - without.sum) == pytest.approx(0.3 * float(expected), rel=1e-4)
    torch.testing.assert_close(experience.advantages[2], torch.tensor([0.95**1 * 0.5, 0.5, 0.0]))


@pytest.mark.parametrize("estimator", ["k1_cumulative", "k3_cumulative"])
def test_a_cumulative_kl_in_the_loss_weighs_each_token_by_the_ratio_so_far(estimator):
    config = PpoConfig(k=2, kl=KlConfig(placement="loss", estimator=estimator))
    experience = ppo.prepare(rollouts(), config, kl_coef=0.3)
    moved = OLD + torch.tensor([0.5, -0.25, 0.1])
    without = ppo.loss(outputs(moved), experience, PpoConfig(k=2), kl_coef=0.3)
    with_kl = ppo.loss(outputs(moved), experience, config, kl_coef=0.3)
    difference = REF - moved
    per_token = {"k1_cumulative": -difference, "k3_cumulative": difference.exp() - 1 - difference}
    so_far = torch.where(MASK, moved - OLD, 0.0).cumsum(1).exp()
    expected = 0.3 * (per_token[estimator] * so_far)[MASK].sum()
    assert float(with_kl.sum - without.sum) == pytest.approx(float(expected), rel=1e-4)


def test_the_clip_fraction_counts_only_bounds_that_bind():
    experience, config = experience_for("ppo")
    up = OLD + 1.0
    metrics = ppo.loss(outputs(up), experience, config, kl_coef=0.0).metrics.values()
    positive = float((experience.advantages[MASK] > 0).float().mean())
    assert metrics["policy/clip_fraction"] == pytest.approx(positive)
    assert metrics["kl/old_policy"] == pytest.approx(-1.0)


def test_the_critic_learns_returns_on_valid_tokens_only():
    experience, config = experience_for("ppo")
    values = torch.full((4, 3), float("nan"))
    values[MASK] = 0.1
    values.requires_grad_(True)
    loss = ppo.critic_loss(outputs(OLD, values), experience, config)
    expected = 0.5 * ((0.1 - experience.returns[MASK]) ** 2).sum()
    assert loss.sum.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.weight == float(MASK.sum())


def test_values_are_clipped_around_those_of_the_rollout():
    """The worse of the two counts: 0.9 from an old 0.5 is read as 0.6 for the target 1.0."""
    old = torch.where(MASK, 0.5, 0.0)
    config = PpoConfig(value_clip=0.1)
    made = replace(experience_for("ppo")[0], old_values=old, returns=torch.ones(4, 3))
    loss = ppo.critic_loss(outputs(OLD, torch.full((4, 3), 0.9)), made, config)
    assert float(loss.sum / loss.weight) == pytest.approx(0.5 * 0.4**2, rel=1e-5)
    plain = ppo.critic_loss(outputs(OLD, torch.full((4, 3), 0.9)), made, PpoConfig(value_clip=0))
    assert float(plain.sum / plain.weight) == pytest.approx(0.5 * 0.1**2, rel=1e-5)


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant_one():
    experience, _ = experience_for("ppo")
    perfect = Experience(
        **{
            name: getattr(experience, name)
            for name in (
                "mask",
                "old_logprobs",
                "ref_logprobs",
                "advantages",
                "returns",
                "scores",
                "group_index",
            )
        },
        old_values=experience.returns + 3.0,
    )
    assert ppo.explained_variance(perfect) == pytest.approx(1.0)
    assert ppo.explained_variance(experience) == pytest.approx(0.0)


def test_rollout_metrics_are_what_they_say():
    rewards = sequence_rewards(rollouts(), RlooConfig(), kl_coef=0.5)
    values = rollout_metrics(rollouts(), rewards).values()
    assert values["reward/score"] == pytest.approx(0.625)
    assert values["kl/policy_reference"] == pytest.approx(float(K1.mean()))
    assert values["response/length"] == pytest.approx(9 / 4)
    assert values["response/finished"] == 0.75
    assert values["group/dead_fraction"] == 0.0
    assert values["policy/sampler_mismatch"] == pytest.approx(0.01, rel=1e-3)
    assert values["reward/mean"] == pytest.approx(float((SCORES - 0.5 * K1).mean()) - 0.25)


def test_a_group_is_dead_when_its_rewards_are_equal_whatever_the_scores_say():
    equal = torch.tensor([1.0, 1.0, 0.5, 2.0])
    assert rollout_metrics(rollouts(), equal).values()["group/dead_fraction"] == 0.5
    alone = replace(rollouts(), group_index=torch.arange(4))
    assert "group/dead_fraction" not in rollout_metrics(alone, equal).values()


def test_the_updated_policys_kl_weighs_old_samples_by_their_ratio():
    experience, config = experience_for("ppo")
    moved = OLD + torch.tensor([0.5, -0.25, 0.1])
    values = ppo.loss(outputs(moved), experience, config, kl_coef=0.0).metrics.values()
    ratio = (moved - OLD).exp()
    kl = float((ratio * (moved - REF))[MASK].sum()) / 4
    assert values["kl/updated_policy"] == pytest.approx(kl, rel=1e-5)
    assert values["kl/old_policy"] == pytest.approx(float((OLD - moved)[MASK].mean()), rel=1e-5)
    assert values["policy/entropy"] == pytest.approx(0.7, rel=1e-5)


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (ppo, PpoConfig()),
        (grpo, GrpoConfig()),
        (grpo, GrpoConfig(reduction="sequence_mean")),
        (rloo, RlooConfig()),
        (reinforce, ReinforceConfig()),
        (online_dpo, OnlineDpoConfig()),
    ],
)
def test_losses_and_metrics_add_up_over_micro_batches(module, config):
    made = module.prepare(rollouts(torch.where(MASK, 0.25, 0.0)), config, kl_coef=0.3)
    moved = OLD + torch.tensor([0.5, -0.25, 0.1])

    def loss_of(rows):
        return module.loss(outputs(moved[rows]), made.take(rows, 3), config, kl_coef=0.3)

    whole, parts = loss_of([0, 1, 2, 3]), [loss_of([0, 1]), loss_of([2, 3])]
    torch.testing.assert_close(parts[0].sum + parts[1].sum, whole.sum)
    assert parts[0].weight + parts[1].weight == whole.weight
    merged = (parts[0].metrics + parts[1].metrics).values()
    assert merged == pytest.approx(whole.metrics.values(), rel=1e-5, abs=1e-7)


def gradient_of(module, config, experience, logprobs):
    moved = logprobs.clone().requires_grad_(True)
    loss = module.loss(outputs(moved), experience, config, kl_coef=0.0)
    (loss.sum / loss.weight).backward()
    return moved.grad


@pytest.mark.parametrize("whiten_advantages", [False, True])
def test_reinforce_credits_a_token_with_what_comes_after_it(whiten_advantages):
    config = ReinforceConfig(missing_eos_penalty=0, whiten_advantages=whiten_advantages)
    made = reinforce.prepare(rollouts(), config, kl_coef=0.5)
    compared = float((SCORES - 0.5 * K1).mean())
    to_go = torch.tensor([1.0 + 0.4, 1.0 + 0.5, 1.0]) - compared
    if whiten_advantages:
        assert float(made.advantages[MASK].mean()) == pytest.approx(0, abs=1e-6)
        assert float(made.advantages[MASK].var(correction=0)) == pytest.approx(1, rel=1e-4)
    else:
        torch.testing.assert_close(made.advantages[0], to_go)
        gradient = gradient_of(reinforce, config, made, OLD)
        torch.testing.assert_close(gradient, -made.advantages / 4 / config.sampling.max_tokens)


def test_baselines_of_reinforce():
    def first(**choices):
        config = ReinforceConfig(missing_eos_penalty=0, **choices)
        return float(reinforce.prepare(rollouts(), config, kl_coef=0.0).advantages[0, 0])

    assert first(baseline="none") == 1.0
    assert first() == pytest.approx(1.0 - 0.625)
    assert first(baseline="group_mean") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (ppo, PpoConfig(reduction="constant")),
        (grpo, GrpoConfig()),
        (grpo, GrpoConfig(surrogate="cispo")),
        (grpo, GrpoConfig(ratio="sequence")),
        (reinforce, ReinforceConfig(surrogate="clipped")),
    ],
)
def test_every_surrogate_is_reinforce_at_ratio_one(module, config):
    made = grpo.prepare(rollouts(), GrpoConfig(), kl_coef=0.3)
    plain = gradient_of(reinforce, ReinforceConfig(), made, OLD)
    torch.testing.assert_close(gradient_of(module, config, made, OLD), plain)


def test_gspo_moves_all_tokens_of_a_response_by_its_mean_log_ratio():
    config = GrpoConfig(preset="gspo", clip_low=0.5, clip_high=0.5)
    made = grpo.prepare(rollouts(), config, kl_coef=0.0)
    moved = OLD + torch.tensor([0.3, -0.1, 0.1])
    ratio = torch.tensor([0.3 / 3, 0.3, 0.2 / 2, 0.3 / 3]).exp()
    lengths = MASK.sum(1)
    by_hand = -(ratio * made.advantages[:, 0] / lengths / 4)[:, None] * MASK
    torch.testing.assert_close(gradient_of(grpo, config, made, moved), by_hand)
    tight = GrpoConfig(preset="gspo")
    gradient = gradient_of(grpo, tight, made, moved)
    assert torch.equal(gradient.abs().sum(1) > 0, made.advantages[:, 0] < 0)


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (ppo, PpoConfig),
        (grpo, partial(GrpoConfig, reduction="token_mean")),
        (reinforce, partial(ReinforceConfig, surrogate="clipped", reduction="token_mean")),
    ],
)
def test_a_dual_clip_stops_a_bad_token_that_became_far_more_likely(module, config):
    made = grpo.prepare(rollouts(), GrpoConfig(), kl_coef=0.0)
    moved = OLD + math.log(4.0)
    unbounded = gradient_of(module, config(), made, moved)
    bad = made.advantages < 0
    torch.testing.assert_close(unbounded[bad], -4.0 * made.advantages[bad] / MASK.sum())
    assert not gradient_of(module, config(dual_clip=3.0), made, moved).any()
    assert torch.equal(gradient_of(module, config(dual_clip=5.0), made, moved), unbounded)
    for dual, share in ((3.0, 1.0), (5.0, float((~bad & MASK).sum() / MASK.sum()))):
        loss = module.loss(outputs(moved), made, config(dual_clip=dual), kl_coef=0.0)
        assert loss.metrics.values()["policy/clip_fraction"] == pytest.approx(share)


def test_cispo_keeps_a_token_that_ppo_drops_at_the_weight_of_its_bound():
    bounds = {"clip_low": 0.2, "clip_high": 0.28, "reduction": "token_mean"}
    made = grpo.prepare(rollouts(), GrpoConfig(), kl_coef=0.0)
    moved = OLD + 1.0
    kept = gradient_of(grpo, GrpoConfig(surrogate="cispo", **bounds), made, moved)
    torch.testing.assert_close(kept, -1.28 * made.advantages / MASK.sum())
    dropped = gradient_of(grpo, GrpoConfig(**bounds), made, moved)
    assert torch.equal(dropped[MASK] == 0, made.advantages[MASK] > 0)
    metrics = grpo.loss(outputs(moved), made, GrpoConfig(surrogate="cispo"), kl_coef=0.0).metrics
    assert metrics.values()["policy/clip_fraction"] == 1.0


def test_online_dpo_is_dpo_on_labels_of_the_scores_with_groups_counted_once():
    config = OnlineDpoConfig(beta=0.5, noise=2.0, missing_eos_penalty=0)
    three = replace(rollouts(), group_index=torch.tensor([0, 0, 0, 1]))
    with pytest.raises(ValueError, match="at least 2"):
        online_dpo.prepare(three, config, kl_coef=0.1)
    made = online_dpo.prepare(rollouts(), config, kl_coef=0.1)
    loss = online_dpo.loss(outputs(OLD), made, config, kl_coef=0.1)
    first, second = 0.5 * (K1[0] - K1[1]), 0.5 * (K1[3] - K1[2])

    def labeled(h, difference):
        p = torch.sigmoid(torch.tensor(difference / 2.0))
        return -(p * h.sigmoid().log() + (1 - p) * (-h).sigmoid().log())

    expected = labeled(first, 2.0) + labeled(second, 1.5)
    assert float(loss.sum) == pytest.approx(float(expected), rel=1e-5)
    assert loss.weight == 2
    assert config.kl.coef == 1.0


def test_taking_rows_keeps_what_belongs_to_them():
    experience, _ = experience_for("ppo")
    part = experience.take([3, 1], 2)
    for name in ("mask", "old_logprobs", "ref_logprobs", "advantages", "old_values", "returns"):
        assert torch.equal(getattr(part, name), getattr(experience, name)[[3, 1], :2]), name
    for name in ("scores", "group_index"):
        assert torch.equal(getattr(part, name), getattr(experience, name)[[3, 1]]), name
    assert experience.take([0], 5).mask.tolist() == [[True, True, True, False, False]]
