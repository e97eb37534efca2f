"""From judgements to preferences: several votes about one pair become a soft label."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from palate.records import Group, Judgement, Preference, PreferenceGroup, Unpaired, preferences_of

EQUAL: Mapping[str, float] = {}
"""No weights: every judge counts the same."""


class _Vote(NamedTuple):
    """For the earlier response: its probability, its margin, and what the vote weighs."""

    probability: float
    margin: float
    weight: float


def settled(
    group: Group, judgements: Sequence[Judgement], *, weights: Mapping[str, float] = EQUAL
) -> PreferenceGroup | None:
    """One preference per judged pair of different texts; None when nothing was said.

    Probability and margin are weighted means of the votes (a judge without a weight has 1), both
    towards the winner, which is the side with at least half of the weight. Two responses with the
    same text cannot be preferred to one another.
    """
    votes: dict[tuple[int, int], list[_Vote]] = {}
    for judgement in judgements:
        weight = weights.get(judgement.judge, 1.0)
        for p in preferences_of(judgement.verdict, judgement.order or range(group.k)):
            low, high = sorted((p.winner, p.loser))
            if group.responses[low].text == group.responses[high].text:
                continue
            vote = _Vote(p.probability, p.margin, weight)
            if p.winner == high:
                vote = _Vote(1 - p.probability, -p.margin, weight)
            votes.setdefault((low, high), []).append(vote)
    preferences = tuple(_preference(*pair, cast) for pair, cast in votes.items())
    return PreferenceGroup(group=group, preferences=preferences) if preferences else None


def _preference(low: int, high: int, cast: Sequence[_Vote]) -> Preference:
    total = sum(vote.weight for vote in cast)
    shares = [vote.weight / total if total else 1 / len(cast) for vote in cast]
    if len(set(shares)) == 1:
        probability = sum(vote.probability for vote in cast) / len(cast)
        margin = sum(vote.margin for vote in cast) / len(cast)
    else:
        probability = math.fsum(s * v.probability for s, v in zip(shares, cast, strict=True))
        margin = math.fsum(s * v.margin for s, v in zip(shares, cast, strict=True))
    if probability >= 0.5:
        return Preference(winner=low, loser=high, probability=min(probability, 1.0), margin=margin)
    return Preference(winner=high, loser=low, probability=1 - probability, margin=0.0 - margin)


def vote_weight(accuracy: float) -> float:
    """log(a / (1 - a)), at least 0: what a vote of this accuracy weighs in a majority.

    Nitzan and Paroush 1982; between two values, and with independent errors.
    """
    return max(0.0, math.log(accuracy / (1 - accuracy)))


def labelled(row: PreferenceGroup) -> list[Unpaired]:
    """The chosen response of every preference as desirable, the rejected one as not."""
    return [
        Unpaired(prompt=row.group.prompt, response=row.group.responses[index], desirable=good)
        for p in row.preferences
        if p.probability > 0.5
        for index, good in ((p.winner, True), (p.loser, False))
    ]
