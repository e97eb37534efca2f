"""C0: the enumerated problems are what they claim to be, before any trainer is judged by them."""

import math

import pytest
import torch

from palate.verify.enumeration import (
    best_of_n,
    kl,
    log_z,
    logp_all,
    objective,
    pi_star,
    random_policy,
    small,
    soft,
    solve,
    state_values,
    tabular,
    text_problem,
    token_logprobs,
    tree,
    tree_k2,
    tree_k3,
    tv,
)


def _reference_and_optimum(problem):
    reference = logp_all(problem.tree, problem.ref_logits)
    return reference, pi_star(reference, problem.reward, problem.beta)


def test_trees_hold_every_response_once():
    assert [len(p.tree.responses) for p in (tabular(), small(), text_problem())] == [40, 7, 85]
    assert [len(p.tree.prefixes) for p in (tabular(), small(), text_problem())] == [13, 3, 21]
    responses = tabular().tree.responses
    assert len(set(responses)) == 40
    assert all(r.index(3) == len(r) - 1 if 3 in r else len(r) == 3 for r in responses)


def test_padding_has_log_probability_zero_and_prefixes_condition_tokens():
    paths = tree(vocabulary=3, eos=2, length=2)
    logits = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0))
    logprobs = token_logprobs(paths, logits)[0]
    table = logits.log_softmax(-1)[0]
    assert paths.responses[:2] == ((2,), (0, 0))
    assert logprobs[0].tolist() == [table[0, 2].item(), 0.0]
    assert logprobs[1].tolist() == [table[0, 0].item(), table[1, 0].item()]


def test_probabilities_sum_to_one():
    problem = tabular()
    assert torch.allclose(logp_all(problem.tree, random_policy(problem)).exp().sum(-1), _ones())


def test_tabular_problem_of_seed_zero_has_its_recorded_divergences():
    reference, optimum = _reference_and_optimum(tabular())
    assert kl(optimum, reference).tolist() == pytest.approx([0.689, 0.599, 1.998], abs=1e-3)
    assert tv(optimum, reference).tolist() == pytest.approx([0.460, 0.416, 0.653], abs=1e-3)


@pytest.mark.parametrize("problem", [tabular(), tabular(1), small()])
def test_soft_backward_induction_is_the_tilted_reference(problem):
    _, optimum = _reference_and_optimum(problem)
    assert tv(logp_all(problem.tree, solve(problem, soft)), optimum).max() < 1e-12


@pytest.mark.parametrize(
    ("rule", "distance", "spent"), [(tree_k2, 0.315, 1.678), (tree_k3, 0.380, 1.884)]
)
def test_token_level_kl_in_the_loss_has_another_optimum(rule, distance, spent):
    problem = tabular()
    reference, optimum = _reference_and_optimum(problem)
    fixed_point = logp_all(problem.tree, solve(problem, rule))
    assert torch.allclose(fixed_point.exp().sum(-1), _ones())
    assert tv(fixed_point, optimum).max().item() == pytest.approx(distance, abs=1e-3)
    assert kl(fixed_point, reference).mean().item() == pytest.approx(spent, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_gap_to_the_optimum_is_beta_times_divergence_from_it(seed):
    problem = tabular()
    reference, optimum = _reference_and_optimum(problem)
    policy = logp_all(problem.tree, random_policy(problem, seed=seed))
    args = (reference, problem.reward, problem.beta)
    gap = objective(optimum, *args) - objective(policy, *args)
    assert (gap - problem.beta * kl(policy, optimum)).abs().max() < 1e-12


def test_optimal_objective_is_beta_log_z_and_so_is_the_root_value():
    problem = tabular()
    reference, optimum = _reference_and_optimum(problem)
    best = problem.beta * log_z(reference, problem.reward, problem.beta)
    assert torch.allclose(objective(optimum, reference, problem.reward, problem.beta), best)
    assert torch.allclose(state_values(problem, solve(problem, soft))[:, 0], best)


def test_state_value_of_the_root_is_the_objective():
    problem = tabular()
    policy = random_policy(problem)
    reference, _ = _reference_and_optimum(problem)
    exact = objective(logp_all(problem.tree, policy), reference, problem.reward, problem.beta)
    assert torch.allclose(state_values(problem, policy)[:, 0], exact)


def test_exact_gradient_ascent_reaches_the_optimum():
    problem = tabular()
    reference, optimum = _reference_and_optimum(problem)
    logits = problem.ref_logits.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        policy = logp_all(problem.tree, logits)
        loss = -objective(policy, reference, problem.reward, problem.beta).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert tv(logp_all(problem.tree, logits.detach()), optimum).max() < 1e-5


@pytest.mark.parametrize(("n", "exact"), [(1, (0, 0, 0)), (4, (0.431, 0.626, 0.626))])
def test_best_of_n_is_a_distribution_with_kl_below_its_bound(n, exact):
    problem = tabular()
    reference, _ = _reference_and_optimum(problem)
    best = best_of_n(reference, problem.reward, n)
    assert torch.allclose(best.sum(-1), _ones())
    spent = kl(best.log(), reference)
    assert spent.tolist() == pytest.approx(exact, abs=1e-3)
    assert spent.max() <= math.log(n) - (n - 1) / n + 1e-12


def _ones():
    return torch.ones(3, dtype=torch.float64)
