"""C10: what a judge keeps of n sampled responses is drawn from the best-of-n distribution."""

import pytest
import torch
from scipy.stats import power_divergence

from palate.feedback.judges import ScorerJudge
from palate.records import Choice, Group, Response
from palate.verify import enumeration as exact
from palate.verify.worlds import TableScorer, tabular_world

GROUPS = 2000


@pytest.mark.parametrize("n", [2, 4, 16])
def test_the_best_of_n_responses_follow_the_exact_distribution(n: int) -> None:
    world = tabular_world(exact.tabular())
    judge = ScorerJudge(TableScorer(world.index, world.reward), ask="best", pairs_per_group=0)
    for row, prompt in enumerate(world.prompts):
        asked = world.encoder.encode_prompt(prompt)
        (rollouts,) = world.sampler.sample([asked], GROUPS * n, seed=n)
        responses = [Response(text="", token_ids=rollout.tokens) for rollout in rollouts]
        groups = [
            Group(prompt=prompt, responses=tuple(responses[i : i + n]))
            for i in range(0, len(responses), n)
        ]
        kept = torch.zeros(len(world.reward[row]))
        for group, judgement in zip(groups, judge.judge(groups, seed=0), strict=True):
            assert isinstance(judgement.verdict, Choice)
            chosen = group.responses[judgement.verdict.chosen].token_ids
            kept[world.index.responses[chosen]] += 1
        truth = GROUPS * exact.best_of_n(world.log_ref[row], world.reward[row], n)
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
