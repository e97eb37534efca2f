import math

import numpy as np
import pytest
from scipy import stats

from palate.maths.statistics import (
    accuracy,
    best_of_n_kl_bound,
    bootstrap_mean,
    calibration_null,
    clustered_error,
    clustered_mean,
    detectable_win_rate,
    distinct_n,
    expected_calibration_error,
    paired_win_rate,
    sample_size,
    wilson,
)


def correlated(rng, prompts, each):
    """Wins of `each` responses to every prompt whose win rate varies by prompt; the mean is 0.6."""
    clusters = np.repeat(np.arange(prompts), each)
    return (rng.random(prompts * each) < rng.beta(1.2, 0.8, prompts)[clusters]) * 1.0, clusters


# intervals


def test_wilson_by_hand():
    got = wilson(8.0, 10)
    assert got == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)


def test_wilson_stays_inside_zero_and_one_and_never_has_no_width():
    assert wilson(0.0, 10).low == 0.0
    assert wilson(10.0, 10).high == 1.0
    assert 0.2 < wilson(0.0, 10).high < 0.35


@pytest.mark.parametrize(("n", "p"), [(50, 0.5), (50, 0.9), (200, 0.95), (100, 0.7)])
def test_wilson_covers(n, p):
    wins = np.arange(n + 1)
    inside = [low <= p <= high for _, low, high in (wilson(float(w), n) for w in wins)]
    assert 0.93 <= stats.binom.pmf(wins, n, p)[inside].sum() <= 0.975


def test_clustered_error_by_hand():
    """Residuals sum to -0.5 in a (one value), to 0.5 in b (two values): n = 3, C = 2."""
    values, clusters = [0.0, 1.0, 0.5], ["a", "b", "b"]
    mean, error, freedom = clustered_error(values, clusters)
    assert (mean, freedom) == (0.5, 1)
    assert error == pytest.approx(math.sqrt(2 / 1 * 0.5) / 3)


def test_with_one_value_per_cluster_the_interval_is_students():
    values = np.random.default_rng(0).normal(size=30)
    got = clustered_mean(values, range(30))
    expected = stats.t.interval(0.95, 29, loc=values.mean(), scale=stats.sem(values))
    assert got[1:] == pytest.approx(expected)


def test_copies_of_a_response_add_no_information():
    values, clusters = [0.0, 1.0, 1.0, 0.5], list("abcd")
    assert clustered_mean(values * 5, clusters * 5) == pytest.approx(
        clustered_mean(values, clusters)
    )
    assert paired_win_rate(values * 5, clusters * 5) == pytest.approx(
        paired_win_rate(values, clusters)
    )


@pytest.mark.parametrize("interval", [clustered_mean, paired_win_rate])
def test_clustered_intervals_cover_where_independence_would_not(interval):
    rng, covered, naive = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        wins, clusters = correlated(rng, prompts=100, each=4)
        low, high = interval(wins, clusters)[1:]
        covered += low <= 0.6 <= high
        low, high = wilson(float(wins.sum()), len(wins))[1:]
        naive += low <= 0.6 <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert naive / 1000 < 0.9


def test_win_rate_counts_ties_as_half_and_narrows_with_them():
    win_loss, with_ties = [1.0, 0.0] * 50, [1.0, 0.0, 0.5, 0.5] * 25
    wide, narrow = paired_win_rate(win_loss, range(100)), paired_win_rate(with_ties, range(100))
    assert wide.estimate == narrow.estimate == 0.5
    assert narrow.high - narrow.low < 0.8 * (wide.high - wide.low)


def test_win_rate_of_only_wins_keeps_a_lower_bound():
    got = paired_win_rate([1.0] * 40, [i // 2 for i in range(40)])
    assert got.estimate == got.high == 1.0
    assert 0.75 < got.low < 0.9


@pytest.mark.parametrize("outcomes", [[0.5], [1.0, 0.0], [1.0, 1.0, 0.0], [1.0] + [0.0] * 48])
def test_win_rate_keeps_its_width_when_all_prompts_agree(outcomes):
    clusters = [prompt for prompt in range(30) for _ in outcomes]
    got = paired_win_rate(outcomes * 30, clusters)
    assert got.high - got.low > 0.1


def test_one_cluster_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 clusters"):
        clustered_mean([1.0, 2.0], ["a", "a"])


def test_values_and_clusters_must_match():
    with pytest.raises(ValueError, match="zip"):
        clustered_mean([1.0, 2.0], ["a", "b", "c"])


def test_bootstrap_resamples_clusters():
    wins, clusters = correlated(np.random.default_rng(1), prompts=200, each=4)
    exact, resampled = clustered_mean(wins, clusters), bootstrap_mean(wins, clusters, seed=0)
    assert resampled.estimate == pytest.approx(exact.estimate)
    assert resampled == pytest.approx(exact, abs=0.006)
    assert bootstrap_mean(wins, clusters, seed=0) == resampled
    assert bootstrap_mean(wins, clusters, seed=1) != resampled


def test_the_bootstrap_weighs_clusters_by_their_size():
    """Half the draws hold both clusters, so the middle of the distribution is the mean of all."""
    got = bootstrap_mean([0.0] * 9 + [1.0], ["a"] * 9 + ["b"], seed=0, level=0.2)
    assert got == pytest.approx((0.1, 0.1, 0.1))


def test_accuracy_counts_equal_scores_half():
    got = accuracy([1.0, -2.0, 0.0, 3.0], list("abcd"))
    assert got.estimate == 0.625
    assert got.low < 0.625 < got.high


# calibration


def test_calibration_error_by_hand():
    """Bin 0.2-0.3: two predictions of 0.25, one outcome; bin 0.9-1.0: one of 1.0, outcome 0."""
    got = expected_calibration_error([0.25, 0.25, 1.0], [1.0, 0.0, 0.0], bins=10)
    assert got == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 1.0)


def test_calibration_error_is_zero_where_frequencies_match():
    assert expected_calibration_error([0.5, 0.5], [0.0, 1.0], bins=10) == 0.0


@pytest.mark.parametrize(("n", "mean", "p95"), [(500, 0.045, 0.063), (5000, 0.014, 0.019)])
def test_perfect_calibration_does_not_look_perfect(n, mean, p95):
    p = np.random.default_rng(0).random(n)
    null = calibration_null(p, seed=0, draws=400)
    assert null == pytest.approx((mean, p95), rel=0.2)


def test_overconfidence_exceeds_the_null():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 2000)
    overconfident = p**2 / (p**2 + (1 - p) ** 2)
    outcomes = rng.random(2000) < p
    null = calibration_null(p, seed=1).p95
    assert expected_calibration_error(p, outcomes) < null
    assert expected_calibration_error(overconfident, outcomes) > 1.5 * null


# the rest


def test_distinct_n_counts_different_ngrams():
    assert distinct_n([[1, 2, 1, 2], [1, 2]], 1) == 2 / 6
    assert distinct_n([[1, 2, 1, 2], [1, 2]], 2) == 2 / 4
    assert distinct_n([[1]], 2) == 0.0


def test_best_of_n_bound():
    assert best_of_n_kl_bound(1) == 0.0
    assert best_of_n_kl_bound(4) == pytest.approx(0.636, abs=1e-3)


def test_sample_size_has_the_power_it_promises():
    n = sample_size(0.6, 0.8)
    assert n == 194
    critical = stats.norm.ppf(0.975) * 0.5 * math.sqrt(n)
    wins = np.arange(n + 1)
    power = stats.binom.pmf(wins, n, 0.6)[np.abs(wins - n / 2) > critical].sum()
    assert power == pytest.approx(0.8, abs=0.03)
    assert sample_size(0.4, 0.8) == n


def test_five_points_need_783_comparisons():
    assert [sample_size(p, 0.8) for p in (0.6, 0.55, 0.53, 0.52)] == [194, 783, 2178, 4904]


@pytest.mark.parametrize("n", [10, 783, 10_000])
def test_what_n_comparisons_detect_needs_n_of_them(n):
    detectable = detectable_win_rate(n, 0.8)
    assert sample_size(detectable + 1e-9, 0.8) == n
    assert detectable_win_rate(n, 0.5) < detectable


def test_a_handful_of_comparisons_detects_nothing():
    assert detectable_win_rate(3, 0.8) == 1.0
