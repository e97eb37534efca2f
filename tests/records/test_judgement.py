"""A verdict says exactly what was judged and nothing else."""

import pytest
from pydantic import ValidationError

from palate.records import (
    Choice,
    Demonstration,
    Group,
    Judgement,
    Message,
    Preference,
    PreferenceGroup,
    Prompt,
    Ranking,
    Rating,
    Response,
    Scores,
    Skip,
    Tie,
    content_id,
    preferences_of,
    user_prompt,
)


def pairs(verdict, shown):
    return {(p.winner, p.loser, p.probability) for p in preferences_of(verdict, shown)}


def test_a_choice_beats_only_what_was_shown_beside_it():
    assert pairs(Choice(chosen=2), (2, 0)) == {(2, 0, 1.0)}
    assert pairs(Choice(chosen=2), range(3)) == {(2, 0, 1.0), (2, 1, 1.0)}


def test_the_strength_of_a_choice_becomes_the_margin():
    assert preferences_of(Choice(chosen=0, strength=3), (0, 1))[0].margin == 2.0


def test_ties_stay_ties():
    assert pairs(Tie(), (1, 3)) == {(1, 3, 0.5)}


def test_a_ranking_orders_every_pair_and_its_tail_loses_without_an_order_of_its_own():
    found = pairs(Ranking(ranks=(1, 0, None, 1, None)), range(5))
    assert found == {
        (1, 0, 1.0),
        (0, 3, 0.5),
        (1, 3, 1.0),
        *((i, j, 1.0) for i in (0, 1, 3) for j in (2, 4)),
    }


def test_ratings_and_scores_compare_by_value():
    assert pairs(Rating(values=(2, 5, 2)), range(3)) == {(1, 0, 1.0), (0, 2, 0.5), (1, 2, 1.0)}
    assert pairs(Scores(values=(0.5, -1.0)), range(2)) == {(0, 1, 1.0)}


def test_a_skip_says_nothing():
    assert preferences_of(Skip(reason="unclear"), range(4)) == ()


def test_scores_are_finite():
    with pytest.raises(ValidationError, match="finite"):
        Scores(values=(float("nan"), 0.0))


def test_the_reference_does_not_change_a_prompts_identity_but_the_question_does():
    assert user_prompt("2 + 2?", reference="4").id == user_prompt("2 + 2?").id
    assert user_prompt("2 + 2?").id != user_prompt("2 + 3?").id


def test_a_groups_identity_depends_on_the_order_and_the_policy_of_its_responses():
    prompt = user_prompt("Hi")
    a, b = Response(text="a"), Response(text="b")
    ids = {
        Group(prompt=prompt, responses=(a, b)).id,
        Group(prompt=prompt, responses=(b, a)).id,
        Group(prompt=prompt, responses=(a, Response(text="b", policy="sft"))).id,
    }
    assert len(ids) == 3


def test_impossible_records_are_refused():
    with pytest.raises(ValidationError, match="two different"):
        Preference(winner=1, loser=1)
    with pytest.raises(ValidationError, match="exactly one"):
        Prompt()
    with pytest.raises(ValidationError, match="ends with an assistant"):
        Demonstration(messages=(Message(role="user", content="Hi"),))
    group = Group(prompt=user_prompt("Hi"), responses=(Response(text="a"),))
    with pytest.raises(ValidationError, match="of a group of 1"):
        PreferenceGroup(group=group, preferences=(Preference(winner=0, loser=1),))


def test_judgements_without_reasons_keep_the_ids_that_they_had_before() -> None:
    plain = {"group_id": "g", "judge": "ann", "verdict": {"kind": "tie", "both_bad": False}}
    old = plain | {"order": [], "seconds": None, "seed": None, "supersedes": None}
    assert Judgement.model_validate(plain).id == content_id(old)
    with_note = Judgement.model_validate(plain | {"note": "x"})
    assert with_note.id != content_id(old)
