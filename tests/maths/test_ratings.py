"""Ratings of compared items, against closed forms, choix, and published reference values."""

import gzip
import itertools
import json
import math

import choix
import numpy as np
import pytest

from palate.maths.ratings import (
    Votes,
    bradley_terry_fit,
    capped_weights,
    davidson_fit,
    islands,
    rank_ranges,
    rated_with_ranges,
    without_each_voter,
)
from palate.maths.statistics import Interval


def comparisons(rng, scores, n):
    """wins[i, j] when every pair is compared n times."""
    first = np.triu(rng.binomial(n, 1 / (1 + np.exp(scores - scores[:, None]))), 1)
    return first + np.tril(n - first.T, -1)


SCORES = np.array([0.9, 0.2, -0.1, -1.0])


def test_two_items_are_rated_by_their_log_odds():
    fit = bradley_terry_fit([[0, 3], [1, 0]])
    assert fit.scores == pytest.approx([math.log(3) / 2, -math.log(3) / 2])
    assert fit.covariance[0, 0] == pytest.approx(1 / (4 * 4 * 0.75 * 0.25))


def test_ratings_are_those_of_choix():
    wins = comparisons(np.random.default_rng(0), SCORES, 50)
    pairs = [(i, j) for i, j in itertools.permutations(range(4), 2) for _ in range(int(wins[i, j]))]
    assert bradley_terry_fit(wins).scores == pytest.approx(
        choix.opt_pairwise(4, pairs, tol=1e-10), abs=1e-6
    )


@pytest.mark.slow
def test_ratings_covariance_covers_differences():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        fit = bradley_terry_fit(comparisons(rng, SCORES, 30))
        contrast = np.array([1.0, 0.0, 0.0, -1.0])
        error = math.sqrt(contrast @ fit.covariance @ contrast)
        covered += abs(contrast @ (fit.scores - SCORES)) <= 1.96 * error
    assert 0.93 <= covered / 300 <= 0.975


def test_lopsided_counts_still_converge():
    wins = np.array([[0, 1e6, 3], [1, 0, 1e5], [1e5, 1, 0]], dtype=float)
    scores = bradley_terry_fit(wins).scores
    expected = (wins + wins.T) / (1 + np.exp(scores - scores[:, None]))
    assert np.abs(expected.sum(1) / wins.sum(1) - 1).max() < 1e-6


@pytest.mark.parametrize(
    "wins",
    [
        [[0, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
        [[0, 3, 2], [0, 0, 1], [0, 2, 0]],
    ],
)
def test_disconnected_or_unbeaten_items_have_no_rating(wins):
    with pytest.raises(ValueError, match="ratings are infinite"):
        bradley_terry_fit(wins)


def test_a_ridge_rates_items_that_never_lose_as_choix_does():
    wins = [[0, 3, 2], [0, 0, 1], [0, 2, 0]]
    pairs = [(i, j) for i, j in itertools.permutations(range(3), 2) for _ in range(wins[i][j])]
    expected = choix.opt_pairwise(3, pairs, alpha=0.25, tol=1e-10)
    assert bradley_terry_fit(wins, ridge=0.5).scores == pytest.approx(expected, abs=1e-6)


def test_islands_are_items_that_no_chain_of_wins_connects_both_ways():
    assert islands([[0, 1, 0], [0, 0, 1], [1, 0, 0]]) == [[0, 1, 2]]
    assert sorted(islands([[0, 3, 2], [0, 0, 1], [0, 2, 0]])) == [[0], [1, 2]]


# ties


def test_two_items_with_ties_are_rated_in_closed_form():
    """Saturated: e^(s_0 - s_1) = wins / losses and nu = ties / sqrt(wins losses)."""
    fit = davidson_fit([[0, 8], [2, 0]], [[0, 5], [5, 0]])
    assert fit.ratings.scores[0] - fit.ratings.scores[1] == pytest.approx(math.log(8 / 2))
    assert fit.log_tie == pytest.approx(math.log(5 / math.sqrt(8 * 2)))
    contrast = np.array([1.0, -1.0])
    assert contrast @ fit.ratings.covariance @ contrast == pytest.approx(1 / 8 + 1 / 2)
    assert fit.log_tie_variance == pytest.approx(1 / 5 + 1 / 32 + 1 / 8)


def test_without_ties_davidson_is_bradley_terry():
    wins = comparisons(np.random.default_rng(0), SCORES, 20)
    fit = davidson_fit(wins, np.zeros((4, 4)))
    assert fit.log_tie == -math.inf
    assert fit.ratings.scores == pytest.approx(bradley_terry_fit(wins).scores)


def reference(folder, name):
    """(items, wins, ties, published scores by algorithm) of one set of comparisons."""
    if not (folder / "rating_oracles").is_dir():
        pytest.skip(f"PUBLIC DATA ABSENT: no rating_oracles in {folder}")

    def rows(part):
        path = folder / "rating_oracles" / f"{name}_{part}.jsonl.gz"
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    compared, golden = rows("comparisons"), rows("golden_scores")
    items = sorted({row["item"] for row in golden})
    wins, ties = np.zeros((2, len(items), len(items)))
    for row in compared:
        left, right = items.index(row["left"]), items.index(row["right"])
        if row["winner"] == "tie":
            ties[left, right] += 1
            ties[right, left] += 1
        else:
            pair = (left, right) if row["winner"] == "left" else (right, left)
            wins[pair] += 1
    scores = {
        row["algorithm"]: [
            next(r["score"] for r in golden if (r["algorithm"], r["item"]) == (row["algorithm"], i))
            for i in items
        ]
        for row in golden
    }
    return wins, ties, scores


@pytest.mark.parametrize("name", ["simple", "food"])
def test_published_bradley_terry_strengths(real_data, name):
    wins, ties, scores = reference(real_data, name)
    strengths = np.exp(bradley_terry_fit(wins + ties / 2).scores)
    assert strengths / strengths.sum() == pytest.approx(scores["bradley_terry"], rel=1e-7)


@pytest.mark.parametrize("name", ["simple", "food"])
def test_published_strengths_with_ties(real_data, name):
    """Newman's iteration has Davidson's maximum; its strengths are up to a factor."""
    wins, ties, scores = reference(real_data, name)
    published = np.log(scores["newman"])
    fitted = davidson_fit(wins, ties).ratings.scores
    assert fitted == pytest.approx(published - published.mean(), abs=1e-5)


# ranges


def votes(rng, n, *, prompts, voters):
    """Votes whose voters and prompts all follow SCORES."""
    first = rng.integers(0, 4, n)
    second = (first + rng.integers(1, 4, n)) % 4
    outcome = rng.random(n) < 1 / (1 + np.exp(SCORES[second] - SCORES[first]))
    prompt, voter = rng.integers(0, prompts, n), rng.integers(0, voters, n)
    return Votes(first=first, second=second, outcome=outcome * 1.0, prompt=prompt, voter=voter)


def test_a_tie_is_half_a_win_for_each():
    one = np.array([0])
    vote = Votes(first=one, second=one + 1, outcome=one + 0.5, prompt=one, voter=one)
    assert vote.wins(2).tolist() == [[0, 0.5], [0.5, 0]]


def test_decided_votes_and_ties_are_counted_apart_and_weighed():
    first, second = np.array([0, 0, 2]), np.array([1, 1, 0])
    cast = Votes(
        first=first,
        second=second,
        outcome=np.array([1.0, 0.5, 0.0]),
        prompt=first,
        voter=first,
    )
    wins, ties = cast.decided(3, [1, 2, 5])
    assert wins.tolist() == [[0, 1, 5], [0, 0, 0], [0, 0, 0]]
    assert ties.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_ranges_are_about_davidsons_scores():
    """8 wins, 2 losses and 5 ties: the difference is log(8 / 2), whatever the ties are."""
    outcome = np.array([1.0] * 8 + [0.0] * 2 + [0.5] * 5)
    first = np.zeros(15, int)
    data = Votes(first=first, second=first + 1, outcome=outcome, prompt=np.arange(15), voter=first)
    better, worse = rated_with_ranges(data, 2, ridge=1e-9, seed=0, draws=2)
    assert better.score.estimate - worse.score.estimate == pytest.approx(math.log(8 / 2), rel=1e-5)


def test_intervals_of_independent_votes_are_those_of_the_information():
    data = votes(np.random.default_rng(0), 2000, prompts=2000, voters=1)
    ranges = rated_with_ranges(data, 4, ridge=1e-3, seed=0, draws=60)
    fit = bradley_terry_fit(data.wins(4), ridge=1e-3)
    widths = [(r.score.high - r.score.low) / (2 * 1.96) for r in ranges]
    assert widths == pytest.approx(np.sqrt(np.diag(fit.covariance)).tolist(), rel=0.2)
    assert [r.score.estimate for r in ranges] == pytest.approx(fit.scores.tolist())
    assert rated_with_ranges(data, 4, ridge=1e-3, seed=0, draws=60) == ranges


def test_a_voter_of_many_votes_has_at_most_the_share_and_nobody_else_loses_any():
    voter = np.repeat([0, 1, 2, 3, 4], [100, 60, 5, 5, 2])
    weights = capped_weights(voter, share=0.3)
    by_voter = np.bincount(voter, weights)
    assert by_voter[2:].tolist() == [5, 5, 2]
    assert by_voter[:2] / by_voter.sum() == pytest.approx(0.3)
    assert (capped_weights(voter[95:165], share=0.9) == 1).all()
    assert (capped_weights(np.array([0, 0, 0, 1]), share=0.3) == 1).all()


def test_weights_are_votes():
    data = votes(np.random.default_rng(1), 200, prompts=40, voters=10)
    twice = np.where(data.voter < 5, 2, 1)
    repeated = Votes(
        **{
            name: np.repeat(getattr(data, name), twice)
            for name in ("first", "second", "outcome", "prompt", "voter")
        }
    )
    weighed = rated_with_ranges(data, 4, ridge=1e-3, seed=0, weights=twice, draws=20)
    assert weighed == rated_with_ranges(repeated, 4, ridge=1e-3, seed=0, draws=20)
    alone = without_each_voter(data, 4, ridge=1e-3, weights=twice)
    assert np.allclose(alone, without_each_voter(repeated, 4, ridge=1e-3))


def test_intervals_do_not_narrow_by_asking_the_same_voters_about_copies_of_a_prompt():
    data = votes(np.random.default_rng(0), 300, prompts=300, voters=300)
    copies = Votes(
        **{name: np.tile(getattr(data, name), 10) for name in ("first", "second", "outcome")},
        prompt=np.arange(3000),
        voter=np.tile(np.arange(300), 10),
    )
    few, many = (
        rated_with_ranges(d, 4, ridge=1e-3, seed=0, draws=60)[0].score for d in (data, copies)
    )
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.3)


def test_scores_without_a_voter_are_those_of_the_others_alone():
    data = votes(np.random.default_rng(0), 400, prompts=400, voters=3)
    without = without_each_voter(data, 4, ridge=1e-3)
    for voter, scores in enumerate(without):
        others = data.voter != voter
        kept = Votes(
            **{
                name: getattr(data, name)[others]
                for name in ("first", "second", "outcome", "prompt", "voter")
            }
        )
        alone = bradley_terry_fit(kept.wins(4), ridge=1e-3).scores
        assert scores.tolist() == pytest.approx(alone.tolist(), abs=1e-8)
    assert len(without) == 3


def test_ranks_are_certain_only_where_intervals_do_not_overlap():
    scores = [Interval(1.0, 0.5, 1.5), Interval(0.4, 0.2, 0.6), Interval(-1.0, -1.2, -0.8)]
    assert [(r.best_rank, r.worst_rank) for r in rank_ranges(scores)] == [(1, 2), (1, 2), (3, 3)]
