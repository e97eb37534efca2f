"""The control arm is always there and unbiased; the other arms pick what they say they pick."""

import numpy as np
import pytest

from palate.evaluation.asking import (
    compare_arms,
    ensemble_uncertainty,
    judge_dispute,
    next_questions,
    outlyingness,
)

SCORES = {"uncertain": np.arange(20.0), "outlier": -np.arange(20.0)}


def test_members_that_agree_are_certain_even_about_a_close_call():
    uncertain = ensemble_uncertainty([[0.0, 3.0, -3.0], [0.0, 3.0, 3.0]])
    assert uncertain[:2].tolist() == [0.0, 0.0]
    assert uncertain[2] == pytest.approx((1 / (1 + np.exp(-3.0))) - 0.5)


def test_a_judge_is_disputed_only_where_people_spoke():
    assert judge_dispute([0.9, 0.9, 0.2], [0.1, np.nan, 0.2]) == pytest.approx([0.8, 0.0, 0.0])


def test_outliers_stand_out_in_reward_or_in_length():
    away = outlyingness([0, 1, 2, 3, 4, 50], [10, 11, 12, 13, 500, 12])
    assert away.argsort()[-2:].tolist() == [5, 4]
    assert outlyingness([1, 1, 1, 2], [5, 5, 5, 5]).tolist() == [0, 0, 0, np.inf]


def test_every_batch_has_its_control_and_arms_take_turns():
    asked = next_questions(SCORES, count=8, control=0.25, seed=0)
    arms = [question.arm for question in asked]
    assert arms == ["random", "random", *["uncertain", "outlier"] * 3]
    indices = [question.index for question in asked]
    assert len(set(indices)) == 8
    free = [i for i in range(20) if i not in indices[:2]]
    assert indices[2::2] == free[::-1][:3]
    assert indices[3::2] == free[:3]
    with pytest.raises(ValueError, match="stays random"):
        next_questions(SCORES, count=8, control=0.0, seed=0)


def test_the_control_is_drawn_evenly_whatever_the_scores():
    drawn = [
        question.index
        for seed in range(2000)
        for question in next_questions(SCORES, count=4, control=0.25, seed=seed)
        if question.arm == "random"
    ]
    assert len(drawn) == 2000
    assert np.bincount(drawn, minlength=20).min() > 60


def test_asking_for_more_than_there_is_asks_everything_once():
    asked = next_questions(SCORES, count=50, control=0.1, seed=0)
    assert sorted(question.index for question in asked) == list(range(20))


def test_arms_are_compared_side_by_side():
    arms = ["random"] * 4 + ["uncertain"] * 4
    results = compare_arms(arms, [0, 0, 0, 1, 1, 1, 0.5, 0], [3.0] * 8, [str(i) for i in range(8)])
    assert [(r.arm, r.n, r.surprise.estimate) for r in results] == [
        ("random", 4, 0.25),
        ("uncertain", 4, 0.625),
    ]
