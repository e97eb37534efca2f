"""The story of a run: whose answers are shown, to which prompt, and what a nat is."""

import math

import pytest

from palate.evaluation.results import Answer, AnswerScore, Evaluation, Sample
from palate.evaluation.story import before_after, best_policy, distance_in_words, headline
from tests.evaluation.evaluations import evaluation, exactly


def asked(prompt: str, **scores: float) -> Sample:
    """A prompt with the taste's score of every policy's answer."""
    answers = tuple(
        Answer(policy=name, text=name, scores=(AnswerScore(judge="cafe", value=value),))
        for name, value in scores.items()
    )
    return Sample(prompt=prompt, answers=answers)


def with_samples(of: Evaluation, *samples: Sample) -> Evaluation:
    return of.model_copy(update={"samples": samples})


def untrained(of: Evaluation, name: str) -> Evaluation:
    policies = tuple(
        p.model_copy(update={"kl_method": "bound"}) if p.name == name else p for p in of.policies
    )
    return of.model_copy(update={"policies": policies})


def test_best_of_n_leads_only_where_nothing_was_trained():
    both = untrained(evaluation(best_of_8=0.9, ppo=0.7), "best_of_8")
    assert headline(both).startswith("ppo wins 70.0%")
    alone = untrained(evaluation(best_of_8=0.9), "best_of_8")
    assert headline(alone).startswith("best_of_8 wins 90.0%")
    assert best_policy(evaluation()) is None


@pytest.mark.parametrize("shuffled", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_the_prompt_of_the_median_gain_is_shown(shuffled):
    gains = [-5.0, 1.0, 2.0, 9.0]
    samples = [asked(f"gain {gains[i]:g}", sft=3.0, ppo=3.0 + gains[i]) for i in shuffled]
    pair = before_after(with_samples(evaluation(ppo=0.7), *samples))
    assert pair
    assert (pair.prompt, pair.before.policy, pair.after.policy) == ("gain 1", "sft", "ppo")
    assert "of the 4 prompts below" in pair.rule
    assert "(+1.00)" in pair.rule


def test_without_scores_the_first_prompt_is_shown_and_said_to_be():
    answers = tuple(Answer(policy=name, text="?") for name in ("sft", "ppo"))
    samples = [Sample(prompt=prompt, answers=answers) for prompt in ("one", "two")]
    pair = before_after(with_samples(evaluation(ppo=0.7), *samples))
    assert pair
    assert (pair.prompt, pair.rule) == ("one", "Chosen by a rule: the first prompt below.")


def test_there_is_no_pair_without_both_answers_or_without_a_comparison():
    only = asked("?", sft=1.0)
    assert before_after(with_samples(evaluation(ppo=0.7), only)) is None
    assert before_after(with_samples(evaluation(), only)) is None


@pytest.mark.parametrize(
    ("nats", "times"), [(math.log(2), "2.0"), (1.0, "2.7"), (11.0, "over 20,000")]
)
def test_nats_are_put_into_words(nats, times):
    of = evaluation(ppo=0.7)
    moved = of.policies[1].model_copy(update={"kl": exactly(nats)})
    words = distance_in_words(of.model_copy(update={"policies": (of.policies[0], moved)}))
    assert f"typically {times} times as likely to come from ppo as from sft" in words


def test_no_distance_needs_no_words():
    assert distance_in_words(evaluation(ppo=0.0)) == ""
    assert distance_in_words(evaluation()) == ""
