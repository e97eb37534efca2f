"""PPO, GRPO and RLOO put their parts together as they say: by hand on two groups of two."""

import pytest
import torch

from palate.algorithms import grpo, ppo, rloo
from palate.algorithms.rlhf import rollout_metrics, sequence_rewards, shaped_scores
from palate.batches.experience import Experience, Rollouts
from palate.config.common import KlConfig
from palate.config.stages import GrpoConfig, PpoConfig, RlooConfig
from palate.interfaces import Outputs

MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
OLD = torch.tensor([[-1.0, -2, -0.5], [-0.3, 9, 9], [-1.5, -0.2, 9], [-0.7, -0.1, -2.0]])
REF = torch.tensor([[-1.2, -1.0, -0.5], [-0.9, 9, 9], [-1.5, -0.4, 9], [-0.2, -0.1, -1.0]])
K1 = torch.tensor([0.2 - 1.0 + 0.0, 0.6, 0.0 + 0.2, -0.5 + 0.0 - 1.0])
SCORES = torch.tensor([1.0, -1.0, 0.5, 2.0])


def rollouts(values=None) -> Rollouts:
    return Rollouts(
        mask=MASK,
        sampler_logprobs=OLD + 0.01,
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
    shaped = shaped_scores(rollouts(), missing_eos_penalty=0.75)
    assert shaped.tolist() == [1.0, -1.0, 0.5, 1.25]


@pytest.mark.parametrize(("placement", "coef"), [("reward", 0.5), ("loss", 0.0)])
def test_the_sequence_reward_charges_k1_only_when_the_kl_is_in_the_reward(placement, coef):
    kl = KlConfig(placement=placement, estimator="k2")
    rewards = sequence_rewards(rollouts(), kl, kl_coef=0.5, missing_eos_penalty=0.0)
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
    standard = advantages(scale="group")
    torch.testing.assert_close(standard.abs(), torch.full((4,), 2**-0.5), rtol=1e-3, atol=0)
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


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant_one():
    experience, _ = experience_for("ppo")
    perfect = Experience(
        **{
            name: getattr(experience, name)
            for name in ("mask", "old_logprobs", "ref_logprobs", "advantages", "returns")
        },
        old_values=experience.returns + 3.0,
    )
    assert ppo.explained_variance(perfect) == pytest.approx(1.0)
    assert ppo.explained_variance(experience) == pytest.approx(0.0)


def test_rollout_metrics_are_what_they_say():
    rewards = sequence_rewards(rollouts(), KlConfig(), kl_coef=0.5, missing_eos_penalty=1.0)
    values = rollout_metrics(rollouts(), rewards).values()
    assert values["reward/score"] == pytest.approx(0.625)
    assert values["kl/policy_reference"] == pytest.approx(float(K1.mean()))
    assert values["response/length"] == pytest.approx(9 / 4)
    assert values["response/finished"] == 0.75
    assert values["group/dead_fraction"] == 0.0
    assert values["policy/sampler_mismatch"] == pytest.approx(0.01, rel=1e-3)
    assert values["reward/mean"] == pytest.approx(float((SCORES - 0.5 * K1).mean()) - 0.25)


def test_taking_rows_keeps_what_belongs_to_them():
    experience, _ = experience_for("ppo")
    part = experience.take([3, 1], 2)
    assert torch.equal(part.mask, MASK[[3, 1], :2])
    assert torch.equal(part.advantages, experience.advantages[[3, 1], :2])
    assert experience.take([0], 5).mask.tolist() == [[True, True, True, False, False]]
