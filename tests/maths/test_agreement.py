"""Agreement coefficients against published values, other libraries and identities."""

import gzip
import itertools
import json

import evalica
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from palate.maths.agreement import (
    UndefinedError,
    bootstrap,
    cohen_kappa,
    coincidences,
    fleiss_kappa,
    kendall_w,
    krippendorff_alpha,
    observed_agreement,
    single_label_accuracy,
    value_counts,
)

FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""Fourteen raters, ten units, five values: the worked example of Fleiss' kappa."""


def ratings(seed, raters=4, units=30, missing=0.3):
    """Ratings 1 to 5 that lean towards a truth, [rater, unit], some of them missing."""
    rng = np.random.default_rng(seed)
    near = rng.integers(1, 6, units) + rng.integers(-1, 2, (raters, units))
    given = np.clip(near, 1, 5).astype(float)
    given[rng.random(given.shape) < missing] = np.nan
    return given


VALUES = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
TWO = np.array([0.0, 1.0])


def summed(given, values=VALUES):
    return coincidences(value_counts(given, values)).sum(0)


def test_counts_leave_missing_ratings_out():
    assert value_counts([[1, np.nan], [2, 2]], VALUES[:2]).tolist() == [[1, 1], [0, 1]]


def test_two_raters_coincide_once_in_each_direction_and_one_rater_never():
    assert coincidences([[1, 1], [2, 0], [0, 1]]).tolist() == [
        [[0, 1], [1, 0]],
        [[2, 0], [0, 0]],
        [[0, 0], [0, 0]],
    ]


def test_observed_agreement_counts_pairs_of_raters():
    """Three raters, two of whom agree: one of three pairs."""
    assert observed_agreement(coincidences([[2, 1]]).sum(0)) == pytest.approx(1 / 3)


def test_fleiss_worked_example():
    assert fleiss_kappa(coincidences(FLEISS).sum(0)) == pytest.approx(0.20993, abs=1e-5)


def test_cohens_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 100)
    second = np.where(rng.random(100) < 0.6, first, rng.integers(0, 3, 100))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(first, second))
    assert cohen_kappa([[0, 5], [5, 0]]) == pytest.approx(-1.0)


def reliability(real_data, name):
    path = real_data / "rating_oracles" / f"{name}_krippendorff.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"PUBLIC DATA ABSENT: no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["labels"] for line in lines]


@pytest.mark.parametrize(
    ("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_krippendorffs_own_example(real_data, metric, alpha):
    labels = reliability(real_data, "codings")
    given = [[np.nan if label is None else float(label) for label in row] for row in labels]
    assert krippendorff_alpha(summed(given), VALUES, metric=metric) == pytest.approx(
        alpha, abs=5e-4
    )


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_that_of_evalica(metric, seed):
    given = ratings(seed)
    theirs = evalica.alpha(pd.DataFrame(given), distance=metric).alpha
    assert krippendorff_alpha(summed(given), VALUES, metric=metric) == pytest.approx(theirs)


def test_alpha_of_words_is_that_of_evalica(real_data):
    labels = reliability(real_data, "gcl")
    words = {"NN": 0.0, "VBP": 1.0, None: np.nan}
    given = [[words[label] for label in row] for row in labels]
    alpha = krippendorff_alpha(summed(given, TWO), TWO, metric="nominal")
    assert alpha == pytest.approx(evalica.alpha(pd.DataFrame(given)).alpha)


def test_opposite_raters_agree_less_than_chance_and_equal_ones_fully():
    up = VALUES
    opposite = krippendorff_alpha(summed([up, up[::-1]]), VALUES, metric="interval")
    assert opposite < -0.5
    for metric in ("nominal", "ordinal", "interval"):
        assert krippendorff_alpha(summed([up, up]), VALUES, metric=metric) == 1


def test_a_rater_more_or_a_value_that_nobody_gave_changes_nothing_by_itself():
    given = ratings(0)
    extra = np.full((1, given.shape[1]), np.nan)
    for metric in ("nominal", "ordinal", "interval"):
        alpha = krippendorff_alpha(summed(given), VALUES, metric=metric)
        wider = np.append(0.0, VALUES)
        padded = summed(np.concatenate([extra, given]), wider)
        assert krippendorff_alpha(padded, wider, metric=metric) == pytest.approx(alpha)


def test_what_is_undefined_says_why():
    alone, same = coincidences([[1, 0], [0, 1]]).sum(0), coincidences([[2, 0], [3, 0]]).sum(0)
    with pytest.raises(UndefinedError, match="no unit has two raters"):
        krippendorff_alpha(alone, TWO, metric="nominal")
    for undefined in (fleiss_kappa, lambda c: krippendorff_alpha(c, TWO, metric="ordinal")):
        with pytest.raises(UndefinedError, match="gave all units the same value"):
            undefined(same)
    with pytest.raises(UndefinedError, match="ties all objects"):
        kendall_w([[1, 1], [2, 2]])


@pytest.mark.parametrize("ties", [False, True])
def test_concordance_is_friedmans_statistic_over_its_maximum(ties):
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 3, (5, 6)) if ties else np.argsort(rng.random((5, 6)), axis=1)
    expected = stats.friedmanchisquare(*ranks.T).statistic / (5 * (6 - 1))
    assert kendall_w(ranks) == pytest.approx(expected)


def test_concordance_without_ties_is_the_mean_rank_correlation():
    ranks = np.argsort(np.random.default_rng(1).random((4, 7)), axis=1)
    pairs = itertools.combinations(ranks, 2)
    mean = np.mean([stats.spearmanr(a, b).statistic for a, b in pairs])
    assert kendall_w(ranks) == pytest.approx((1 + 3 * mean) / 4)


def test_equal_rankings_with_ties_are_in_full_concordance():
    assert kendall_w([[0, 1, 1, 3]] * 3) == pytest.approx(1.0)


def test_the_bootstrap_is_that_of_a_mean():
    """Of the share of ones among 400 items the error is sqrt(p (1 - p) / n)."""
    parts = np.array([[1.0, 0.0]] * 120 + [[0.0, 1.0]] * 280)
    got = bootstrap(lambda total: float(total[0] / total.sum()), parts, seed=0, draws=4000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert got == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=0.004)
    assert got == bootstrap(lambda t: float(t[0] / t.sum()), parts, seed=0, draws=4000)
    assert got != bootstrap(lambda t: float(t[0] / t.sum()), parts, seed=1, draws=99)


@pytest.mark.slow
def test_the_interval_of_alpha_covers_the_alpha_of_many_units():
    """A slow one: 200 data sets of 60 units are resampled 300 times each."""
    everything = krippendorff_alpha(summed(ratings(99, units=100_000)), VALUES, metric="interval")
    covered = 0
    for seed in range(200):
        parts = coincidences(value_counts(ratings(seed, units=60), VALUES))
        low, high = bootstrap(
            lambda c: krippendorff_alpha(c, VALUES, metric="interval"), parts, seed=0, draws=300
        )[1:]
        covered += low <= everything <= high
    assert 0.9 <= covered / 200 <= 0.98


@pytest.mark.parametrize(("agreement", "accuracy"), [(0.63, 0.755), (0.726, 0.836), (0.5, 0.5)])
def test_pair_agreement_implies_an_accuracy(agreement, accuracy):
    q = single_label_accuracy(agreement)
    assert q == pytest.approx(accuracy, abs=1e-3)
    assert q**2 + (1 - q) ** 2 == pytest.approx(agreement)
