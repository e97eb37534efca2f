from collections.abc import Sequence

import numpy as np
import pytest
from scipy import special

from palate.evaluation.results import Comparison
from palate.evaluation.winrate import (
    UNKNOWN,
    Pairs,
    compare,
    compare_verdicts,
    length_controlled_win_rate,
    longer_win_rate,
    outcomes,
    paired_difference,
)
from palate.records import Choice, PromptId, Skip, Tie, Verdict


def pairs(
    prompt_ids: Sequence[str], policy: Sequence[int] = (), baseline: Sequence[int] = ()
) -> Pairs:
    same = [10] * len(prompt_ids)
    return Pairs(
        policy="ppo",
        baseline="sft",
        prompt_ids=[PromptId(p) for p in prompt_ids],
        policy_lengths=policy or same,
        baseline_lengths=baseline or same,
    )


def scalar(policy: Sequence[float], baseline: Sequence[float], of: Pairs) -> Comparison:
    return compare(policy, baseline, of, judge="cafe")


def test_ties_count_half_and_are_reported_apart():
    c = scalar([3, 1, 2, 5], [1, 2, 2, 4], pairs("abcd"))
    assert (c.wins, c.ties, c.losses, c.prompts) == (2, 1, 1, 4)
    assert c.win_rate.estimate == (2 + 0.5) / 4


def test_swapping_the_policies_mirrors_every_rate():
    rng = np.random.default_rng(0)
    ids = [f"p{i // 2}" for i in range(120)]
    a, b = rng.normal(0.4, 1, 120).round(1), rng.normal(0, 1, 120).round(1)
    la, lb = rng.integers(5, 40, 120).tolist(), rng.integers(5, 30, 120).tolist()
    one, two = scalar(a, b, pairs(ids, la, lb)), scalar(b, a, pairs(ids, lb, la))
    assert (one.wins, one.ties, one.losses) == (two.losses, two.ties, two.wins)
    for x, y in [
        (one.win_rate, two.win_rate),
        (one.length_controlled, two.length_controlled),
    ]:
        assert x.estimate == pytest.approx(1 - y.estimate, abs=1e-6)
        assert x.low == pytest.approx(1 - y.high, abs=1e-6)
    assert one.longer_wins == pytest.approx(two.longer_wins)


def test_repeated_prompts_widen_the_interval():
    rng = np.random.default_rng(1)
    wins = np.repeat(rng.random(50) < 0.6, 4).astype(float)
    alone = scalar(wins, np.full(200, 0.5), pairs([f"p{i}" for i in range(200)]))
    clustered = scalar(wins, np.full(200, 0.5), pairs([f"p{i // 4}" for i in range(200)]))
    assert clustered.win_rate.estimate == alone.win_rate.estimate
    width = clustered.win_rate.high - clustered.win_rate.low
    assert width > 1.8 * (alone.win_rate.high - alone.win_rate.low)
    assert (clustered.prompts, alone.prompts) == (50, 200)


def test_the_interval_covers_the_truth_when_prompts_repeat():
    rng, covered, runs = np.random.default_rng(2), 0, 300
    ids = [f"p{i // 3}" for i in range(180)]
    for _ in range(runs):
        chance = np.repeat(rng.beta(1.4, 0.6, 60), 3)
        wins = (rng.random(180) < chance).astype(float)
        rate = scalar(wins, np.full(180, 0.5), pairs(ids)).win_rate
        covered += rate.low <= 0.7 <= rate.high
    assert 0.92 <= covered / runs <= 0.98


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        scalar([1.0, float("nan")], [0.0, 0.0], pairs("ab"))


def test_all_wins_leave_room_for_doubt():
    c = scalar([1.0] * 30, [0.0] * 30, pairs([f"p{i}" for i in range(30)]))
    assert c.win_rate.estimate == c.win_rate.high == 1
    assert c.win_rate.low < 0.9
    assert 0.5 < c.length_controlled.low < c.length_controlled.estimate < 1


def test_at_equal_length_the_length_controlled_rate_is_the_win_rate():
    wins = [1.0] * 140 + [0.0] * 60
    ids = [PromptId(f"p{i}") for i in range(200)]
    rate = length_controlled_win_rate(wins, [0] * 200, ids)
    assert rate.estimate == pytest.approx(0.7, abs=0.003)
    assert 0.62 < rate.low < 0.65


def test_length_control_removes_a_win_rate_that_is_all_length():
    rng, ids = np.random.default_rng(3), [PromptId(f"p{i}") for i in range(400)]
    longer = rng.normal(8, 10, 400).round()
    chance = special.expit(2.5 * np.tanh(longer / np.sqrt(np.mean(longer**2))))
    wins = (rng.random(400) < chance).astype(float)
    rate = length_controlled_win_rate(wins, longer, ids)
    assert wins.mean() > 0.65
    assert rate.low < 0.5 < rate.high
    assert longer_win_rate(wins, longer, ids).low > 0.7


def test_length_control_keeps_a_win_rate_that_is_not_length():
    rng, ids = np.random.default_rng(4), [PromptId(f"p{i}") for i in range(400)]
    wins = (rng.random(400) < 0.75).astype(float)
    rate = length_controlled_win_rate(wins, rng.normal(8, 10, 400), ids)
    assert rate.estimate == pytest.approx(0.75, abs=0.06)
    assert rate.low > 0.6


def test_a_length_effect_that_cannot_be_told_apart_gives_a_wide_interval():
    ids = [PromptId(f"p{i}") for i in range(200)]
    rate = length_controlled_win_rate([1.0] * 160 + [0.0] * 40, [12] * 200, ids)
    assert rate.high - rate.low > 0.4


def test_nothing_is_known_about_length_when_lengths_are_equal():
    assert longer_win_rate([1.0, 0.0], [0, 0], [PromptId("a"), PromptId("b")]) == UNKNOWN


def test_the_longer_response_wins_where_it_does():
    ids = [PromptId(p) for p in "abcde"]
    assert longer_win_rate([1, 0, 0, 0.5, 1], [3, -2, 1, 4, 0], ids).estimate == 2.5 / 4


def test_a_judge_that_always_says_first_wins_half_and_flips_always():
    first: list[Verdict] = [Choice(chosen=0)] * 6
    c = compare_verdicts(first, first, pairs("abcdef"), judge="llm")
    assert (c.win_rate.estimate, c.flip_rate, c.ties) == (0.5, 1.0, 6)


def test_a_win_counts_when_both_orders_agree():
    policy_first: list[Verdict] = [Choice(chosen=0), Choice(chosen=1), Tie(), Choice(chosen=0)]
    baseline_first: list[Verdict] = [Choice(chosen=1), Choice(chosen=0), Tie(), Tie()]
    c = compare_verdicts(policy_first, baseline_first, pairs("abcd"), judge="llm")
    assert (c.wins, c.ties, c.losses) == (1, 2, 1)
    assert c.flip_rate == 0.25


def test_skipped_pairs_are_counted_and_left_out():
    policy_first: list[Verdict] = [Choice(chosen=0), Choice(chosen=0), Skip(reason="unparsed")]
    baseline_first: list[Verdict] = [Choice(chosen=1), Choice(chosen=1), Choice(chosen=1)]
    c = compare_verdicts(policy_first, baseline_first, pairs("abc"), judge="llm")
    assert (c.wins, c.invalid, c.prompts, c.win_rate.estimate) == (2, 1, 2, 1.0)


def test_a_judge_without_verdicts_is_refused():
    skips: list[Verdict] = [Skip(reason="unparsed")] * 2
    with pytest.raises(ValueError, match="no verdict"):
        compare_verdicts(skips, skips, pairs("ab"), judge="llm")


def test_the_paired_error_is_that_of_the_differences_per_prompt():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 1, 400)
    a, b = shared + 0.3 * rng.normal(0, 1, 400) + 0.1, shared + 0.3 * rng.normal(0, 1, 400)
    ids = [PromptId(f"p{i}") for i in range(400)]
    found = paired_difference(a, b, ids)
    covariance = np.cov(a, b)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    half = special.stdtrit(399, 0.975) * np.sqrt(variance / 400)
    assert found is not None
    assert found.estimate == pytest.approx(np.mean(a - b))
    assert found.high - found.estimate == pytest.approx(half)
    unpaired = special.stdtrit(399, 0.975) * np.sqrt(covariance.trace() / 400)
    assert half < unpaired / 2


def test_copies_of_a_prompts_pairs_are_no_new_evidence_of_a_difference():
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.2, 1, (2, 60))
    once = paired_difference(a, b, [PromptId(f"p{i}") for i in range(60)])
    four = paired_difference(
        np.repeat(a, 4), np.repeat(b, 4), [PromptId(f"p{i // 4}") for i in range(240)]
    )
    assert four == pytest.approx(once)


def test_the_difference_of_two_mirrored_policies_of_bernoulli_outcomes_in_closed_form():
    # On 3 of 4 prompts the first wins where the second loses, on the fourth it is the reverse.
    one = np.array([1.0, 1.0, 1.0, 0.0] * 25)
    found = paired_difference(one, 1 - one, [PromptId(f"p{i}") for i in range(100)])
    assert found is not None
    assert found.estimate == 0.5
    error = 2 * np.sqrt(0.75 * 0.25 / 99)
    assert found.high == pytest.approx(0.5 + special.stdtrit(99, 0.975) * error)


def test_pairs_without_a_value_are_left_out_of_a_difference():
    one, other = [1.0, np.nan, 0.0, 1.0], [0.0, 1.0, 0.0, np.nan]
    ids = [PromptId(p) for p in "abcd"]
    found = paired_difference(one, other, ids)
    assert found is not None
    assert found.estimate == 0.5
    assert paired_difference(one[:2], other[:2], ids[:2]) is None


def test_outcomes_are_wins_ties_and_losses():
    assert outcomes([2, 1, 0], [1, 1, 1]).tolist() == [1, 0.5, 0]
