"""The control arm is always there and unbiased; the other arms pick what they say they pick."""

import numpy as np
import pytest

from palate.evaluation.asking import (
    UNKNOWN,
    arm_scores,
    compare_arms,
    contradicts,
    ensemble_uncertainty,
    judge_dispute,
    next_questions,
)
from palate.records import Choice, Group, Judgement, Response, Scores, user_prompt

SCORES = {"uncertain": np.arange(20.0), "outlier": -np.arange(20.0)}


def test_members_that_agree_are_certain_even_about_a_close_call():
    uncertain = ensemble_uncertainty([[0.0, 3.0, -3.0], [0.0, 3.0, 3.0]])
    assert uncertain[:2].tolist() == [0.0, 0.0]
    assert uncertain[2] == pytest.approx((1 / (1 + np.exp(-3.0))) - 0.5)


def test_a_judge_is_disputed_only_where_people_spoke():
    assert judge_dispute([0.9, 0.9, 0.2], [0.1, np.nan, 0.2]) == pytest.approx([0.8, 0.0, 0.0])


def test_every_batch_has_its_control_and_arms_take_turns():
    asked = next_questions(SCORES, new=20, count=8, control=0.25, seed=0)
    arms = [question.arm for question in asked]
    assert arms == ["random", "random", *["uncertain", "outlier"] * 3]
    indices = [question.index for question in asked]
    assert len(set(indices)) == 8
    free = [i for i in range(20) if i not in indices[:2]]
    assert indices[2::2] == free[::-1][:3]
    assert indices[3::2] == free[:3]
    with pytest.raises(ValueError, match="stays random"):
        next_questions(SCORES, new=20, count=8, control=0.0, seed=0)


def test_the_control_is_drawn_evenly_whatever_the_scores():
    drawn = [
        question.index
        for seed in range(2000)
        for question in next_questions(SCORES, new=20, count=4, control=0.25, seed=seed)
        if question.arm == "random"
    ]
    assert len(drawn) == 2000
    assert np.bincount(drawn, minlength=20).min() > 60


def test_asking_for_more_than_there_is_asks_everything_once():
    asked = next_questions(SCORES, new=20, count=50, control=0.1, seed=0)
    assert sorted(question.index for question in asked) == list(range(20))


def test_arms_are_compared_side_by_side():
    arms = ["random"] * 4 + ["uncertain"] * 4
    results = compare_arms(arms, [0, 0, 0, 1, 1, 1, 0.5, 0], [3.0] * 8, [str(i) for i in range(8)])
    assert [(r.arm, r.n, r.surprise.estimate) for r in results] == [
        ("random", 4, 0.25),
        ("uncertain", 4, 0.625),
    ]
    assert results[0].lead is None
    assert results[1].lead.estimate == pytest.approx(0.375)
    assert results[1].lead.low < 0 < results[1].lead.high  # four answers each claim nothing


def scored(i, texts, *models):
    """A pair and the scores of reward models."""
    group = Group(prompt=user_prompt(f"q{i}"), responses=tuple(Response(text=t) for t in texts))
    said = [
        Judgement(group_id=group.id, judge=f"reward-{n}", verdict=Scores(values=values))
        for n, values in enumerate(models)
    ]
    return group, said, (0, 1)


def test_of_one_model_close_calls_are_uncertain_and_of_two_those_they_disagree_on():
    one = [scored(0, "ab", (0, 0.1)), scored(1, "ab", (0, 5)), scored(2, "ab")]
    doubt = arm_scores(("uncertain",), one, new=3)["uncertain"]
    assert doubt[0] > doubt[1] > 0
    assert doubt[2] == UNKNOWN
    two = [scored(0, "ab", (0, 0.1), (0, 0.1)), scored(1, "ab", (0, 5), (5, 0))]
    doubt = arm_scores(("uncertain",), two, new=2)["uncertain"]
    assert doubt[0] == pytest.approx(0)
    assert doubt[1] == pytest.approx(0.493, abs=1e-3)


def test_outliers_are_extreme_in_length_or_in_reward():
    plain = [scored(i, ("aa", "a" * (2 + i % 3)), (0.1 * i, -0.1)) for i in range(8)]
    asked = [*plain, scored(8, ("aa", "a" * 90), (0, 0)), scored(9, ("aa", "aaa"), (70, 0))]
    away = arm_scores(("outlier",), asked, new=10)["outlier"]
    assert sorted(away.argsort()[-2:].tolist()) == [8, 9]


def test_only_answered_questions_are_disputed_and_only_from_opposite_sides():
    asked = [scored(i, "ab", (2, 0)) for i in range(3)]
    for (group, said, _), chosen in zip(asked, (1, 1, 0), strict=True):
        verdict = Choice(chosen=chosen)
        said.append(Judgement(group_id=group.id, judge="person:ann", verdict=verdict, order=(1, 0)))
    disputed = arm_scores(("disputed",), asked, new=1)["disputed"]
    assert disputed.tolist() == [UNKNOWN, pytest.approx(0.8808, abs=1e-4), UNKNOWN]


def test_arms_that_know_nothing_leave_their_share_to_chance():
    scores = {"uncertain": np.full(20, UNKNOWN), "outlier": np.arange(20.0)}
    asked = next_questions(scores, new=10, count=8, control=0.5, seed=0)
    assert {q.arm for q in asked if q.index >= 10} == {"outlier"}
    assert [q.arm for q in asked].count("random") == 4
    silent = next_questions(
        {"disputed": np.full(20, UNKNOWN)}, new=10, count=8, control=0.5, seed=0
    )
    assert {q.arm for q in silent} == {"random"}
    assert len({q.index for q in silent}) == 8


def test_people_contradict_a_model_or_half_of_it():
    scores = {"reward": (1.0, 0.0, 2.0)}
    assert contradicts(scores, (0, 1), (1,)) == 1
    assert contradicts(scores, (0, 1), (0,)) == 0
    assert contradicts(scores, (0, 1), (0, 1)) == 0.5
    assert contradicts(scores, (0, 1, 2), (0,)) == 1
    assert np.isnan(contradicts({}, (0, 1), (0,)))
