"""Several rewards: what their sum is, what their parts are, and what None means."""

import pytest

from palate.feedback.compose import WeightedScorer
from palate.feedback.scorers import FunctionScorer
from palate.records import Group, Response, user_prompt

GROUP = Group(prompt=user_prompt("Hi?"), responses=(Response(text="a"), Response(text="bbb")))


def length(completions):
    return [len(text) for text in completions]


def short(completions):
    """Applies to responses of one letter."""
    return [10.0 if len(text) == 1 else None for text in completions]


def test_each_reward_counts_by_its_weight_and_none_counts_nothing():
    scorer = WeightedScorer(
        [FunctionScorer("length", length), FunctionScorer("short", short)], [2.0, -0.5]
    )
    (scored,) = scorer.scored([GROUP])
    assert scored.total == (2.0 * 1 - 0.5 * 10, 2.0 * 3)
    assert scored.parts == {"length": (1.0, 3.0), "short": (10.0, None)}
    assert scorer.score([GROUP]) == [scored.total]


def test_a_response_that_no_reward_applies_to_is_refused():
    scorer = WeightedScorer([FunctionScorer("short", short)], [1.0])
    with pytest.raises(ValueError, match=r"no reward of short applies to the response 'bbb'"):
        scorer.score([GROUP])


def test_none_of_a_function_for_single_responses_or_of_the_only_reward_is_no_score():
    def forgot(prompt, response, reference):
        del prompt, response, reference

    several = WeightedScorer(
        [FunctionScorer("length", length), FunctionScorer("f", forgot)], [1, 1]
    )
    for scorer in (several, FunctionScorer("short", short)):
        with pytest.raises(ValueError, match=r"returned None .* Remedy: return a finite number"):
            scorer.score([GROUP])


def test_rewards_of_one_name_are_told_apart():
    scorer = WeightedScorer([FunctionScorer("f", length), FunctionScorer("f", length)], [1, 1])
    assert list(scorer.scored([GROUP])[0].parts) == ["f", "f-2"]
