"""Preferences keep their responses, and every prompt counts once."""

import torch

from palate.batches.pairs import pairs_of, scored_pairs
from palate.records import Group, Preference, PreferenceGroup, Response, user_prompt


def judged(name: str, k: int, *preferences: Preference) -> PreferenceGroup:
    responses = tuple(Response(text=f"{name}{i}") for i in range(k))
    return PreferenceGroup(
        group=Group(prompt=user_prompt(name), responses=responses), preferences=preferences
    )


def test_preferences_point_at_the_responses_of_their_own_group():
    first = judged(
        "a",
        3,
        Preference(winner=2, loser=0, probability=0.9, margin=1.5),
        Preference(winner=1, loser=2, probability=0.6, margin=0.0),
    )
    second = judged("b", 2, Preference(winner=1, loser=0, probability=1.0, margin=2.0))
    pairs = pairs_of([first, second], torch.device("cpu"))
    assert pairs.winner.tolist() == [2, 1, 4]
    assert pairs.loser.tolist() == [0, 2, 3]
    assert pairs.weight.tolist() == [0.5, 0.5, 1.0]
    torch.testing.assert_close(pairs.probability, torch.tensor([0.9, 0.6, 1.0]))
    assert pairs.margin.tolist() == [1.5, 0.0, 2.0]
    assert pairs.num_groups == 2


def test_scored_pairs_stay_within_a_prompt_wherever_its_responses_stand():
    scores = torch.tensor([1.0, 5.0, 3.0, 5.0, 2.0])
    pairs = scored_pairs(scores, torch.tensor([0, 1, 0, 1, 0]), noise=0.0)
    found = zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True)
    assert set(found) == {(2, 0), (4, 0), (2, 4), (1, 3)}
    tie = pairs.winner == 1
    assert pairs.probability[tie].tolist() == [0.5]
    assert pairs.probability[~tie].tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(pairs.weight, torch.where(tie, 1.0, 1 / 3))
    assert pairs.num_groups == 2
