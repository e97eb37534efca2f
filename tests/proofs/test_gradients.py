"""G1-G17: expected gradients of the surrogates, by enumeration, against gradients of the objective.

Every expectation is a sum over all responses (or all groups of responses) of a small problem, at a
random policy that is not the reference, in double precision. The surrogates are called as the
trainers call them: on [response, time] tensors, through a reduction.
"""

import itertools
from dataclasses import replace

import pytest
import torch

from palate.algorithms.grpo import group_advantages
from palate.config.onpolicy import GrpoConfig
from palate.maths import advantages, kl, preference, reward, surrogates
from palate.maths.advantages import gae, on_tokens, sequence_rewards, token_rewards
from palate.maths.logprobs import selected_logprobs
from palate.maths.reductions import masked_sum, sequence_mean, sequence_sum
from palate.maths.surrogates import (
    cispo_surrogate,
    clip_fraction,
    clipped_surrogate,
    dual_clipped_surrogate,
    policy_gradient,
    sequence_ratio,
    token_ratio,
)
from palate.verify import enumeration

PROBLEM = enumeration.small()
TREE = PROBLEM.tree
PROMPTS, RESPONSES = PROBLEM.reward.shape
BETA = PROBLEM.beta
REF = enumeration.token_logprobs(TREE, PROBLEM.ref_logits).flatten(0, 1)
SCORES = PROBLEM.reward.flatten()
MASK = TREE.mask.repeat(PROMPTS, 1)
PROMPT = torch.arange(PROMPTS).repeat_interleave(RESPONSES)


@pytest.fixture
def theta():
    return enumeration.random_policy(PROBLEM).requires_grad_()


def everything(theta):
    """Log-probabilities [response, time] of all responses of all prompts, as a trainer has them."""
    states, tokens = TREE.states.repeat(PROMPTS, 1), TREE.tokens.repeat(PROMPTS, 1)
    return selected_logprobs(theta[PROMPT[:, None], states], tokens).where(MASK, 0.0)


def group_standardized(rewards, group_index):
    return group_advantages(rewards, group_index, GrpoConfig(preset="grpo"))


def gradient(value, theta):
    return torch.autograd.grad(value, theta, retain_graph=True)[0]


def expected_gradient(per_token, theta, *, reduction=sequence_sum, under=None):
    """Gradient of E[loss], the expectation under `under` (the policy unless given)."""
    weights = masked_sum(everything(theta) if under is None else under, MASK).detach().exp()
    reduced = reduction(per_token * weights[:, None], MASK)
    return gradient(reduced.sum, theta)


def objective_gradient(theta, beta=BETA):
    logp = enumeration.logp_all(TREE, theta)
    ref = enumeration.logp_all(TREE, PROBLEM.ref_logits)
    return gradient(enumeration.objective(logp, ref, PROBLEM.reward, beta).sum(), theta)


def kl_gradient(theta):
    ref = enumeration.logp_all(TREE, PROBLEM.ref_logits)
    return gradient(enumeration.kl(enumeration.logp_all(TREE, theta), ref).sum(), theta)


def error(got, truth):
    return ((got - truth).abs().max() / truth.abs().max()).item()


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def state_table(seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (PROMPTS, len(TREE.prefixes))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def on_states(table):
    """A [prompt, state] table at the states of all responses, [response, time]."""
    return table[PROMPT[:, None], TREE.states.repeat(PROMPTS, 1)]


def groups(size):
    """All groups of a prompt: indices [group, member] into the prompt's responses."""
    return torch.tensor(list(itertools.product(range(RESPONSES), repeat=size)))


def group_gradient(theta, advantage, size, *, coef=BETA, reduction=sequence_sum):
    """Expected gradient of -loss over all groups of `size` responses per prompt."""
    logprobs = everything(theta)
    rewards = sequence_rewards(SCORES, kl.k1(logprobs, REF), MASK, coef=coef)
    total = torch.zeros_like(theta)
    for prompt in range(PROMPTS):
        rows = groups(size) + prompt * RESPONSES
        weights = masked_sum(logprobs, MASK).detach().exp()[rows].prod(1).repeat_interleave(size)
        index = torch.arange(len(rows)).repeat_interleave(size)
        rows = rows.flatten()
        centered = advantage(rewards[rows], index)
        loss = policy_gradient(logprobs[rows], on_tokens(centered, MASK[rows]))
        total += gradient(reduction(loss * weights[:, None], MASK[rows]).sum, theta) / size
    return -total


# G1, G2, G3, G9: REINFORCE and PPO at ratio one


def test_reinforce_with_kl_in_the_reward_is_the_objectives_gradient(theta):
    logprobs = everything(theta)
    rewards = sequence_rewards(SCORES, kl.k1(logprobs, REF), MASK, coef=BETA)
    loss = policy_gradient(logprobs, on_tokens(rewards, MASK))
    assert error(-expected_gradient(loss, theta), objective_gradient(theta)) < 1e-10


def test_a_baseline_per_prompt_does_not_change_the_expected_gradient(theta):
    logprobs = everything(theta)
    baseline = torch.tensor([1.7, -0.4], dtype=torch.float64)[PROMPT]
    rewards = sequence_rewards(SCORES - baseline, kl.k1(logprobs, REF), MASK, coef=BETA)
    loss = policy_gradient(logprobs, on_tokens(rewards, MASK))
    assert error(-expected_gradient(loss, theta), objective_gradient(theta)) < 1e-10


def ppo_gradient(theta, values, lam):
    logprobs = everything(theta)
    rewards = token_rewards(SCORES, kl.k1(logprobs, REF), MASK, coef=BETA)
    estimate = gae(rewards, values, MASK, gamma=1.0, lam=lam)
    ratio = token_ratio(logprobs, logprobs.detach(), MASK)
    loss = clipped_surrogate(ratio, estimate.advantages, low=0.2, high=0.2)
    return -expected_gradient(loss, theta)


def test_ppo_at_ratio_one_with_lambda_one_is_unbiased_for_any_critic(theta):
    got = ppo_gradient(theta, on_states(state_table(1)), lam=1.0)
    assert error(got, objective_gradient(theta)) < 1e-10


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_gae_is_unbiased_with_the_exact_critic(theta, lam):
    exact = on_states(enumeration.state_values(PROBLEM, theta.detach()))
    assert error(ppo_gradient(theta, exact, lam), objective_gradient(theta)) < 1e-10


@pytest.mark.parametrize(("lam", "bias"), [(0.0, 0.2254), (0.5, 0.1127), (0.95, 0.01127)])
def test_gae_is_biased_with_a_random_critic(theta, lam, bias):
    got = ppo_gradient(theta, on_states(state_table(1)), lam)
    assert error(got, objective_gradient(theta)) == pytest.approx(bias, rel=1e-3)


def test_reward_to_go_and_whole_return_have_the_same_expected_gradient(theta):
    logprobs = everything(theta)
    rewards = token_rewards(SCORES, kl.k1(logprobs, REF), MASK, coef=BETA)
    to_go = gae(rewards, torch.zeros_like(rewards), MASK, gamma=1.0, lam=1.0).advantages
    whole = on_tokens(masked_sum(rewards, MASK), MASK)
    assert not torch.allclose(to_go, whole)
    first = expected_gradient(policy_gradient(logprobs, to_go), theta)
    second = expected_gradient(policy_gradient(logprobs, whole), theta)
    assert error(first, second) < 1e-10


def test_kl_of_the_own_token_only_is_not_the_objectives_gradient(theta):
    logprobs = everything(theta)
    shaped = on_tokens(SCORES, MASK) - BETA * kl.k1(logprobs, REF).detach()
    got = -expected_gradient(policy_gradient(logprobs, shaped), theta)
    assert error(got, objective_gradient(theta)) > 0.05


# G4-G7: groups


@pytest.mark.parametrize("size", [2, 3, 4])
def test_leave_one_out_is_unbiased(theta, size):
    got = group_gradient(theta, advantages.leave_one_out, size)
    assert error(got, objective_gradient(theta)) < 1e-10


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("coef", [0.0, BETA])
def test_group_mean_shortens_the_gradient_by_one_gth(theta, size, coef):
    got = group_gradient(theta, advantages.group_mean_centered, size, coef=coef)
    assert error(got * size / (size - 1), objective_gradient(theta, coef)) < 1e-10


def standardized_by_hand(probabilities, rewards, size):
    """sum over groups of P(group) mean_i A_i 1[member i is y], for every response y."""
    weight = [0.0] * len(rewards)
    for group in itertools.product(range(len(rewards)), repeat=size):
        chance = 1.0
        for member in group:
            chance *= probabilities[member]
        mean = sum(rewards[m] for m in group) / size
        std = (sum((rewards[m] - mean) ** 2 for m in group) / (size - 1)) ** 0.5
        for member in group:
            weight[member] += chance * (rewards[member] - mean) / (std + 1e-6) / size
    return weight


@pytest.mark.parametrize(("size", "direction"), [(2, 0.898), (3, 0.905), (4, 0.913)])
def test_standardizing_groups_changes_the_direction_of_the_gradient(theta, size, direction):
    got = group_gradient(theta, group_standardized, size)
    logp = enumeration.logp_all(TREE, theta)
    shaped = PROBLEM.reward - BETA * (logp - enumeration.logp_all(TREE, PROBLEM.ref_logits))
    weights = [
        standardized_by_hand(p.exp().tolist(), r.tolist(), size)
        for p, r in zip(logp.detach(), shaped.detach(), strict=True)
    ]
    by_hand = gradient((torch.tensor(weights, dtype=torch.float64) * logp).sum(), theta)
    assert error(got, by_hand) < 1e-10
    assert cosine(got, objective_gradient(theta)) == pytest.approx(direction, abs=1e-3)


def test_mean_within_responses_is_not_the_policy_gradient(theta):
    got = group_gradient(theta, advantages.leave_one_out, 2, reduction=sequence_mean)
    logp = enumeration.logp_all(TREE, theta)
    shaped = PROBLEM.reward - BETA * (logp - enumeration.logp_all(TREE, PROBLEM.ref_logits))
    centered = shaped - (logp.exp() * shaped).sum(-1, keepdim=True)
    weights = (logp.exp() * centered / TREE.mask.sum(1)).detach()
    assert error(got, gradient((weights * logp).sum(), theta)) < 1e-10
    assert cosine(got, objective_gradient(theta)) == pytest.approx(0.984, abs=1e-3)


# G8: KL estimators


def test_k1_and_k3_are_unbiased_as_values_and_k2_is_not(theta):
    logprobs = everything(theta).detach()
    weights = masked_sum(logprobs, MASK).exp()
    reference = enumeration.logp_all(TREE, PROBLEM.ref_logits)
    exact = enumeration.kl(enumeration.logp_all(TREE, theta.detach()), reference).sum()
    estimate = {
        f.__name__: (weights * masked_sum(f(logprobs, REF), MASK)).sum()
        for f in (kl.k1, kl.k2, kl.k3)
    }
    assert abs(estimate["k1"] - exact) < 1e-12
    assert abs(estimate["k3"] - exact) < 1e-12
    assert abs(estimate["k2"] - exact) > 0.05


def sequence(logprobs):
    """A response as one token, so that token estimators become sequence estimators."""
    return masked_sum(logprobs, MASK)[:, None]


def sequence_kl_gradient(per_response, theta):
    weights = masked_sum(everything(theta), MASK).detach().exp()
    return gradient((weights[:, None] * per_response).sum(), theta)


def test_sequence_estimators_in_the_loss(theta):
    policy, ref = sequence(everything(theta)), sequence(REF)
    ratio = token_ratio(policy, policy.detach(), torch.ones_like(policy, dtype=torch.bool))
    truth = kl_gradient(theta)
    logp = enumeration.logp_all(TREE, theta)
    logp_ref = enumeration.logp_all(TREE, PROBLEM.ref_logits)
    forward = gradient(enumeration.kl(logp_ref, logp).sum(), theta)
    assert sequence_kl_gradient(kl.k1(policy, ref), theta).abs().max() < 1e-12
    assert error(sequence_kl_gradient(kl.k2(policy, ref), theta), truth) < 1e-10
    assert error(sequence_kl_gradient(kl.k3(policy, ref), theta), forward) < 1e-10
    assert error(sequence_kl_gradient(kl.k3(policy, ref) * ratio, theta), truth) < 1e-10


def test_token_estimators_in_the_loss_omit_the_kl_of_later_tokens(theta):
    logprobs = everything(theta)
    ratio = token_ratio(logprobs, logprobs.detach(), MASK)
    k2 = expected_gradient(kl.k2(logprobs, REF), theta)
    k1_ratio = expected_gradient(kl.k1(logprobs, REF) * ratio, theta)
    k3_ratio = expected_gradient(kl.k3(logprobs, REF) * ratio, theta)
    assert expected_gradient(kl.k1(logprobs, REF), theta).abs().max() < 1e-12
    assert error(k1_ratio, k2) < 1e-10
    assert error(k3_ratio, k2) < 1e-10
    assert error(k2, kl_gradient(theta)) == pytest.approx(0.16, abs=0.01)


@pytest.mark.parametrize("estimator", [kl.k1_cumulative, kl.k3_cumulative])
def test_cumulative_estimators_have_the_gradient_of_the_kl(theta, estimator):
    logprobs = everything(theta)
    estimate = estimator(logprobs, REF, logprobs.detach(), MASK)
    assert error(expected_gradient(estimate, theta), kl_gradient(theta)) < 1e-10


@pytest.mark.parametrize(("times", "at_rest"), [(2.0, True), (1.0, False)])
def test_a_mean_of_two_with_itself_doubles_the_kl_in_the_loss(times, at_rest):
    """At rest at the optimum of G / (G - 1) times the coefficient, G = 2."""
    solution = enumeration.solve(replace(PROBLEM, beta=times * BETA), enumeration.soft)
    theta = solution.requires_grad_()
    logprobs = everything(theta)
    penalty = kl.k1_cumulative(logprobs, REF, logprobs.detach(), MASK)
    ascent = group_gradient(theta, advantages.group_mean_centered, 2, coef=0.0)
    left = float((ascent - BETA * expected_gradient(penalty, theta)).abs().max())
    assert left < 1e-10 if at_rest else left > 1e-2


@pytest.mark.parametrize("estimator", [kl.k1_cumulative, kl.k3_cumulative])
def test_cumulative_estimators_have_the_gradient_of_the_kl_off_policy_too(theta, estimator):
    old = everything(enumeration.random_policy(PROBLEM, seed=10))
    estimate = estimator(everything(theta), REF, old, MASK)
    assert error(expected_gradient(estimate, theta, under=old), kl_gradient(theta)) < 1e-10


@pytest.mark.parametrize(
    ("rule", "estimator"),
    [
        (enumeration.soft, "k1_cumulative"),
        (enumeration.soft, "k3_cumulative"),
        (enumeration.tree_k2, "k2"),
        (enumeration.tree_k3, "k3"),
    ],
)
def test_each_kl_in_the_loss_is_stationary_at_its_own_fixed_point(rule, estimator):
    theta = enumeration.solve(PROBLEM, rule).requires_grad_()
    logprobs = everything(theta)
    if estimator.endswith("cumulative"):
        penalty = getattr(kl, estimator)(logprobs, REF, logprobs.detach(), MASK)
    else:
        penalty = getattr(kl, estimator)(logprobs, REF)
    loss = policy_gradient(logprobs, on_tokens(SCORES, MASK)) + BETA * penalty
    assert expected_gradient(loss, theta).abs().max() < 1e-10
    apart = rule is not enumeration.soft
    assert (objective_gradient(theta).abs().max() > 1e-2) == apart


# G10, G11: clipping off-policy


@pytest.fixture
def off_policy(theta):
    """Ratios off policy, with log-probabilities of the sampler and random advantages."""
    old = everything(theta.detach() + 0.5 * enumeration.random_policy(PROBLEM, seed=11))
    generator = torch.Generator().manual_seed(12)
    advantage = torch.randn(MASK.shape, generator=generator, dtype=torch.float64)
    return token_ratio(everything(theta), old, MASK), old, advantage


def log_gradient(theta, old, coefficient):
    """sum_y pi_old(y) sum_t coefficient_t grad log pi_t."""
    weights = masked_sum(old, MASK).exp()[:, None]
    return gradient((weights * coefficient.detach() * everything(theta)).sum(), theta)


def test_unclipped_surrogate_has_the_importance_weighted_gradient(theta, off_policy):
    ratio, old, advantage = off_policy
    loss = clipped_surrogate(ratio, advantage, low=1.0, high=float("inf"))
    got = -expected_gradient(loss, theta, under=old)
    assert error(got, log_gradient(theta, old, ratio * advantage)) < 1e-10


def test_clipped_surrogate_drops_exactly_the_tokens_that_clipping_binds(theta, off_policy):
    ratio, old, advantage = off_policy
    loss = clipped_surrogate(ratio, advantage, low=0.2, high=0.28)
    got = -expected_gradient(loss, theta, under=old)
    kept = torch.tensor(
        [
            [not ((a > 0 and r > 1.28) or (a < 0 and r < 0.8)) for r, a in zip(*rows, strict=True)]
            for rows in zip(ratio.tolist(), advantage.tolist(), strict=True)
        ]
    )
    assert (~kept).any()
    assert kept[MASK].any()
    assert torch.equal(clip_fraction(ratio, advantage, low=0.2, high=0.28), ~kept)
    assert error(got, log_gradient(theta, old, ratio * advantage * kept)) < 1e-10


def test_dual_clip_also_drops_bad_tokens_with_large_ratios(theta, off_policy):
    ratio, old, advantage = off_policy
    loss = dual_clipped_surrogate(ratio, advantage, low=0.2, high=0.2, dual=1.5)
    got = -expected_gradient(loss, theta, under=old)
    single = clip_fraction(ratio, advantage, low=0.2, high=0.2)
    dual = (advantage < 0) & (ratio > 1.5)
    assert dual.any()
    assert error(got, log_gradient(theta, old, ratio * advantage * ~(single | dual))) < 1e-10


def test_cispo_keeps_every_token_with_a_clipped_weight(theta, off_policy):
    ratio, old, advantage = off_policy
    loss = cispo_surrogate(ratio, everything(theta), advantage, low=0.2, high=0.2)
    got = -expected_gradient(loss, theta, under=old)
    assert error(got, log_gradient(theta, old, ratio.clamp(0.8, 1.2) * advantage)) < 1e-10


def test_gspo_weighs_all_tokens_of_a_response_by_its_geometric_mean_ratio(theta, off_policy):
    _, old, _ = off_policy
    logprobs, lengths = everything(theta), MASK.sum(1)
    advantage = SCORES[:, None].expand_as(logprobs)
    ratio = sequence_ratio(logprobs, old, MASK)
    loss = clipped_surrogate(ratio, advantage, low=1.0, high=float("inf"))
    got = -expected_gradient(loss, theta, reduction=sequence_mean, under=old)
    geometric = (logprobs - old).sum(1).div(lengths).exp()
    by_hand = (geometric * SCORES / lengths)[:, None].expand_as(logprobs)
    assert error(got, log_gradient(theta, old, by_hand * MASK)) < 1e-10


# G12, G13: preferences and reward models


def pairs(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


SOFT = torch.tensor([1.0, 0.0, 0.5, 0.8, 1.0, 0.3], dtype=torch.float64)
MARGIN_LOSSES = {
    "sigmoid": lambda m: preference.sigmoid(m, SOFT, torch.zeros_like(m), beta=0.3),
    "cdpo": lambda m: preference.cdpo(m, SOFT, torch.zeros_like(m), beta=0.3, smoothing=0.1),
    "rdpo": lambda m: preference.rdpo(m, SOFT, torch.zeros_like(m), beta=0.3, smoothing=0.1),
    "ipo": lambda m: preference.ipo(m, SOFT, tau=0.1),
    "hinge": lambda m: preference.hinge(m, SOFT, torch.zeros_like(m), beta=0.3),
    "bradley_terry": lambda m: reward.bradley_terry(m, SOFT, torch.full_like(m, 0.2)),
    "davidson": lambda m: reward.davidson(m, torch.tensor([1, -1, 0, 1, 0, -1]), nu=0.7),
    "cumulative_logit": lambda m: reward.cumulative_logit(
        m, torch.tensor([0, 1, 2, 3, 0, 2]), torch.tensor([-1.0, 0.2, 1.5]).double()
    ),
}


@pytest.mark.parametrize("name", MARGIN_LOSSES)
def test_margin_losses_pass_gradcheck(name):
    assert torch.autograd.gradcheck(MARGIN_LOSSES[name], pairs(6).requires_grad_())


def test_losses_of_mean_log_probabilities_pass_gradcheck():
    chosen, rejected = -pairs(6).abs(), -pairs(6, seed=1).abs()
    inputs = (chosen.requires_grad_(), rejected.requires_grad_())

    def simpo(w, l):  # noqa: E741
        return preference.simpo(w, l, SOFT, beta=2.0, gamma=0.5)

    def orpo(w, l):  # noqa: E741
        return preference.orpo_odds(w, l, SOFT)

    assert torch.autograd.gradcheck(simpo, inputs)
    assert torch.autograd.gradcheck(orpo, inputs)


def test_kto_passes_gradcheck():
    desirable = torch.tensor([True, False, True, True, False, False])

    def loss(logratio):
        return preference.kto(
            logratio, desirable, 0.2, beta=0.3, desirable_weight=1.0, undesirable_weight=1.3
        )

    assert torch.autograd.gradcheck(loss, pairs(6).requires_grad_())


def test_plackett_luce_passes_gradcheck():
    order = torch.tensor([[2, 0, 1, 3], [3, 2, 1, 0]])
    scores = pairs(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: reward.plackett_luce(s, order), scores)


def test_dpo_gradient_is_the_weighted_difference_of_log_probability_gradients(theta):
    """-beta sigmoid(-h) (grad log pi_w - grad log pi_l), Rafailov et al. 2023 section 4."""
    beta, winner, loser = 0.3, 1, 4
    policy, ref = masked_sum(everything(theta), MASK), masked_sum(REF, MASK)
    log_ratio = policy - ref
    margin = preference.margin(log_ratio[[winner]], log_ratio[[loser]])
    loss = preference.sigmoid(margin, torch.ones_like(margin), torch.zeros_like(margin), beta=beta)
    weight = beta * torch.sigmoid(-beta * margin.detach())
    analytic = -weight * (gradient(policy[winner], theta) - gradient(policy[loser], theta))
    assert error(gradient(loss.sum(), theta), analytic) < 1e-12


def test_reward_losses_do_not_depend_on_the_origin_of_scores():
    scores = pairs(2, 4).requires_grad_()
    order = torch.tensor([[2, 0, 1, 3], [3, 2, 1, 0]])
    (of_ranking,) = torch.autograd.grad(reward.plackett_luce(scores, order).sum(), scores)
    difference = scores[:, 0] - scores[:, 1]
    one, zero = torch.ones_like(difference), torch.zeros_like(difference)
    of_pairs = torch.autograd.grad(reward.bradley_terry(difference, one, zero).sum(), scores)[0]
    assert of_ranking.sum(1).abs().max() < 1e-12
    assert of_pairs.sum(1).abs().max() < 1e-12
    assert (of_pairs[:, 0] < 0).all()


# G14-G17


def test_clipped_value_loss_has_no_gradient_where_the_clipped_branch_is_worse():
    values = torch.tensor([[1.5, 1.5, 0.5]], dtype=torch.float64, requires_grad=True)
    old, returns = torch.ones_like(values).detach(), torch.tensor([[3.0, 0.0, 3.0]]).double()
    mask = torch.tensor([[True, True, False]])
    loss = surrogates.clipped_value_loss(values, old, returns, clip=0.2)
    (slope,) = torch.autograd.grad(sequence_sum(loss, mask).sum, values)
    assert slope.tolist() == [[0.0, 1.5, 0.0]]


def test_advantages_and_rewards_carry_no_gradient(theta):
    logprobs = everything(theta)
    divergence = kl.k1(logprobs, REF)
    rewards = token_rewards(SCORES, divergence, MASK, coef=BETA)
    totals = sequence_rewards(SCORES, divergence, MASK, coef=BETA)
    estimate = gae(rewards, logprobs, MASK, gamma=1.0, lam=0.9)
    constants = [
        rewards,
        totals,
        estimate.advantages,
        estimate.returns,
        advantages.leave_one_out(divergence[:, 0], PROMPT),
        advantages.group_mean_centered(divergence[:, 0], PROMPT),
        group_standardized(divergence[:, 0], PROMPT),
        advantages.batch_scaled(divergence[:, 0]),
        advantages.whitened(divergence, MASK),
        on_tokens(divergence[:, 0], MASK),
    ]
    assert divergence.requires_grad
    assert not any(constant.requires_grad for constant in constants)


def gradient_variance(theta, advantage):
    """Trace of the covariance of the mean gradient of a group of two responses of prompt 0."""
    logprobs = everything(theta)
    rewards = sequence_rewards(SCORES, kl.k1(logprobs, REF), MASK, coef=BETA)
    policy = masked_sum(logprobs, MASK)
    slopes = torch.stack([gradient(policy[i], theta).flatten() for i in range(RESPONSES)])
    rows = groups(2)
    index = torch.arange(len(rows)).repeat_interleave(2)
    centered = advantage(rewards[rows.flatten()], index).view(-1, 2)
    samples = (centered[..., None] * slopes[rows]).mean(1)
    weights = policy.detach().exp()[rows].prod(1)
    mean = weights @ samples
    return (weights @ (samples - mean).square()).sum().item()


def test_leave_one_out_lowers_the_variance_and_removes_it_at_the_optimum(theta):
    def no_baseline(rewards, _):
        return rewards

    assert gradient_variance(theta, advantages.leave_one_out) < gradient_variance(
        theta, no_baseline
    )
    optimum = enumeration.solve(PROBLEM, enumeration.soft).requires_grad_()
    assert gradient_variance(optimum, advantages.leave_one_out) < 1e-20
    assert gradient_variance(optimum, no_baseline) > 1e-3


@pytest.mark.parametrize(
    "advantage",
    [advantages.leave_one_out, advantages.group_mean_centered, group_standardized],
)
def test_rewards_of_one_prompt_do_not_touch_advantages_of_another(advantage):
    rewards, index = pairs(8), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])
    changed = rewards + 5.0 * (index == 1) * pairs(8, seed=1)
    before, after = advantage(rewards, index), advantage(changed, index)
    assert torch.equal(before[index == 0], after[index == 0])
    assert not torch.isclose(before[index == 1], after[index == 1]).any()
