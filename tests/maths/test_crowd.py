"""Annotator models find known annotators, and agree with crowd-kit and with plain ratings."""

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene as CrowdKit

from palate.maths.crowd import Labels, crowd_bradley_terry, dawid_skene
from palate.maths.ratings import Votes, bradley_terry_fit

ACCURACY = np.array([0.4, 0.55, 0.7, 0.8, 0.9])


def labelled(seed, items=400, each=3, values=3):
    """Labels of raters with these accuracies, `each` different raters an item; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(values, items, p=[0.45, 0.1, 0.45])
    item = np.repeat(np.arange(items), each)
    rater = np.concatenate([rng.permutation(len(ACCURACY))[:each] for _ in range(items)])
    wrong = (truth[item] + rng.integers(1, values, len(item))) % values
    value = np.where(rng.random(len(item)) < ACCURACY[rater], truth[item], wrong)
    labels = Labels(
        item=item, rater=rater, value=value, items=items, raters=len(ACCURACY), values=values
    )
    return labels, truth


def test_raters_are_ordered_and_their_accuracy_is_found():
    fit = dawid_skene(labelled(0, items=3000)[0])
    assert fit.accuracy == pytest.approx(ACCURACY, abs=0.05)
    assert fit.shares == pytest.approx([0.45, 0.1, 0.45], abs=0.05)
    assert fit.confusion.sum(2) == pytest.approx(np.ones((5, 3)))


def test_the_truth_is_found_better_than_by_majority():
    labels, truth = labelled(0, items=2000)
    votes = np.zeros((2000, 3))
    np.add.at(votes, (labels.item, labels.value), 1)
    majority = (votes.argmax(1) == truth).mean()
    assert (dawid_skene(labels).posterior.argmax(1) == truth).mean() > majority + 0.02


def test_without_a_prior_the_confusions_are_those_of_crowd_kit():
    labels, _ = labelled(1, items=500, each=5)
    table = pd.DataFrame({"task": labels.item, "worker": labels.rater, "label": labels.value})
    theirs = CrowdKit(n_iter=100, tol=1e-7).fit(table)
    ours = dawid_skene(labels, right=1e-9, wrong=1e-9, tolerance=1e-8)
    found = theirs.errors_.sort_index().to_numpy().reshape(5, 3, 3)  # [rater, value, truth]
    assert ours.confusion == pytest.approx(found.transpose(0, 2, 1), abs=0.02)


def test_a_rater_who_swaps_two_values_is_no_worse_than_one_who_does_not():
    labels, truth = labelled(2, items=800, each=5)
    swapped = np.where(labels.rater == 4, np.array([2, 1, 0])[labels.value], labels.value)
    fit = dawid_skene(
        Labels(item=labels.item, rater=labels.rater, value=swapped, items=800, raters=5, values=3)
    )
    assert fit.confusion[4, 0, 2] > 0.8
    assert (fit.posterior.argmax(1) == truth).mean() > 0.9


def test_errors_of_accuracies_are_their_spread_over_data_sets():
    fits = [dawid_skene(labelled(seed, items=300, each=4)[0]) for seed in range(30)]
    spread = np.std([fit.accuracy for fit in fits], axis=0, ddof=1)
    error = np.mean([fit.error for fit in fits], axis=0)
    assert 0.75 < (error / spread).mean() < 1.4


def test_a_rater_who_was_never_seen_is_as_good_as_the_prior_says():
    one = np.zeros(1, np.intp)
    fit = dawid_skene(Labels(item=one, rater=one, value=one, items=1, raters=2, values=2))
    assert fit.accuracy[1] == pytest.approx(4 / 5)
    assert fit.error[1] > 0.1


SCORES = np.linspace(-1.5, 1.5, 6)
ABILITY = np.array([0.15, 0.5, 0.75, 0.95])


def voted(seed, n=4000, ability=ABILITY):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 6, n)
    second, voter = (first + rng.integers(1, 6, n)) % 6, rng.integers(0, len(ability), n)
    p = 1 / (1 + np.exp(SCORES[second] - SCORES[first]))
    outcome = rng.random(n) < np.where(rng.random(n) < ability[voter], p, 1 - p)
    return Votes(first=first, second=second, outcome=outcome * 1.0, prompt=first * 0, voter=voter)


def test_guessers_and_liars_are_found_and_do_not_shrink_the_ratings():
    votes = voted(0)
    fit = crowd_bradley_terry(votes, 6, 4, ridge=0.01)
    assert (np.abs(fit.ability - ABILITY) < 3 * fit.error).all()
    assert fit.error.max() < 0.04
    assert fit.ratings.scores == pytest.approx(SCORES, abs=0.45)
    plain = bradley_terry_fit(votes.wins(6)).scores
    assert plain[5] - plain[0] < 0.5 * (fit.ratings.scores[5] - fit.ratings.scores[0])


def test_voters_known_to_be_right_leave_bradley_terry():
    votes = voted(1, ability=np.ones(2))
    fit = crowd_bradley_terry(votes, 6, 2, right=1e7, wrong=1.0, ridge=0.1)
    assert fit.ratings.scores == pytest.approx(
        bradley_terry_fit(votes.wins(6), ridge=0.1).scores, abs=1e-3
    )


def test_errors_of_abilities_are_their_spread_over_data_sets():
    fits = [crowd_bradley_terry(voted(seed, n=1500), 6, 4, ridge=0.01) for seed in range(40)]
    spread = np.std([fit.ability for fit in fits], axis=0, ddof=1)
    error = np.mean([fit.error for fit in fits], axis=0)
    assert error[:3] == pytest.approx(spread[:3], rel=0.35)
    assert spread[3] < error[3] < 2 * spread[3]  # near 1 the spread is one-sided


def test_a_tie_is_half_a_vote_each_way():
    one = np.array([0, 0])
    half = Votes(first=one, second=one + 1, outcome=one + 0.5, prompt=one, voter=one)
    whole = Votes(first=one, second=one + 1, outcome=np.array([1.0, 0.0]), prompt=one, voter=one)
    assert crowd_bradley_terry(half, 2, 1).ability == pytest.approx(
        crowd_bradley_terry(whole, 2, 1).ability
    )
