"""C10: what a judge keeps of n sampled responses is drawn from the best-of-n distribution."""

import pytest
import torch
from scipy.stats import power_divergence

from palate.verify import enumeration as exact
from palate.verify.offline import best_responses
from palate.verify.worlds import tabular_world


@pytest.mark.parametrize("n", [2, 4, 16])
def test_the_best_of_n_responses_follow_the_exact_distribution(n: int) -> None:
    world = tabular_world(exact.tabular())
    for row, prompt in enumerate(world.prompts):
        best = best_responses(world, prompt, n, seed=n)
        kept = torch.zeros(len(world.reward[row]))
        for response in best:
            kept[world.index.responses[response]] += 1
        truth = len(best) * exact.best_of_n(world.log_ref[row], world.reward[row], n)
        assert g_test(kept, truth) > 1e-4


def test_best_of_n_wins_at_most_n_times_in_n_plus_one() -> None:
    problem = exact.tabular()
    reference = exact.logp_all(problem.tree, problem.ref_logits)
    for logp, reward in zip(reference, problem.reward, strict=True):
        beats = (reward[:, None] > reward).double() + 0.5 * (reward[:, None] == reward).double()
        for n in (2, 4, 16):
            rate = exact.best_of_n(logp, reward, n) @ beats @ logp.exp()
            assert 0.5 < rate <= n / (n + 1) + 1e-12


def g_test(seen: torch.Tensor, expected: torch.Tensor) -> float:
    """p of a G-test over cells of at least five expected, the smaller ones in one cell."""
    large = expected >= 5
    cells = [torch.cat([t[large], t[~large].sum(0, True)]) for t in (seen.double(), expected)]
    filled = cells[1] > 0
    observed, means = (cell[filled].numpy() for cell in cells)
    return float(power_divergence(observed, means, lambda_="log-likelihood").pvalue)
