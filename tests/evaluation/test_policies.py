import itertools

import numpy as np
import pytest

from palate.evaluation.policies import best_of_n_curve, repetition, sequence_kl, writing
from palate.records import Group, PromptId, Response, user_prompt


def test_kl_is_positive_where_the_policy_finds_its_own_words_likelier():
    kl = sequence_kl([-3.0, -0.5], [-6.0, -1.0], ids("ab"))
    assert kl.estimate == pytest.approx((3.0 + 0.5) / 2)


def test_kl_estimates_the_divergence_of_the_policy_from_the_baseline():
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    drawn = np.random.default_rng(0).choice(3, size=(4000, 2), p=p)
    logprobs, baseline = (np.log(each)[drawn].sum(1).tolist() for each in (p, q))
    kl = sequence_kl(logprobs, baseline, ids(range(4000)))
    exact = 2 * float((p * np.log(p / q)).sum())
    assert kl.low < exact < kl.high
    assert kl.high - kl.low < 0.15


def test_kl_needs_a_baseline_log_probability_for_every_response():
    with pytest.raises(ValueError, match="zip"):
        sequence_kl([-1.0, -1.0], [-1.0], ids("ab"))


def test_repetition_counts_the_four_grams_written_before():
    assert repetition((1, 2, 3, 4, 5, 6)) == 0
    assert repetition((7,) * 8) == 1 - 1 / 5
    assert repetition((1, 2, 3, 4, 1, 2, 3, 4)) == 1 - 4 / 5
    assert repetition((1, 2, 3)) == 0


def test_writing_describes_all_responses():
    responses = (
        Response(text="", token_ids=(1, 2, 1, 2), finish="stop"),
        Response(text="", token_ids=(3, 4), finish="length"),
    )
    groups = [
        Group(prompt=user_prompt("a"), responses=responses),
        Group(prompt=user_prompt("b"), responses=responses[:1]),
    ]
    measured = writing(groups)
    assert measured.responses == 3
    assert measured.mean_length.estimate == pytest.approx(10 / 3)
    assert measured.distinct_1 == 4 / 10
    assert measured.distinct_2 == 3 / 7
    assert measured.eos_rate == pytest.approx(2 / 3)


def test_best_of_one_is_the_mean_and_best_of_all_the_maximum():
    proxy = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])
    one, three = best_of_n_curve(proxy, {"rm": proxy}, (1, 3))
    assert one.score("rm").estimate == pytest.approx(proxy.mean())
    assert three.score("rm").estimate == pytest.approx((3 + 5) / 2)
    assert (one.kl_bound, three.kl_bound) == (0, pytest.approx(np.log(3) - 2 / 3))


def test_best_of_n_averages_over_every_subset_and_picks_by_the_selector():
    rng = np.random.default_rng(1)
    proxy, taste = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    picked = [
        taste[i, max(subset, key=lambda j: proxy[i, j])]
        for i in range(4)
        for subset in itertools.combinations(range(6), 3)
    ]
    (best,) = best_of_n_curve(proxy, {"cafe": taste}, (3,))
    assert best.score("cafe").estimate == pytest.approx(np.mean(picked))
    assert best.score("another judge") is None


def ids(names) -> list[PromptId]:
    return [PromptId(str(name)) for name in names]
