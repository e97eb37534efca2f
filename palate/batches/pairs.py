"""Preferences as index tensors into the responses of some groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from palate.maths.reward import preferred
from palate.records import PreferenceGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Every preference of some groups, [pair] each.

    `winner` and `loser` are rows among all responses of those groups; `weight` is 1 / (number of
    preferences of the pair's group), so that each prompt counts once (Ouyang 2022, eq. 1);
    `num_groups` is the sum of the weights.
    """

    winner: torch.Tensor
    loser: torch.Tensor
    probability: torch.Tensor
    margin: torch.Tensor
    weight: torch.Tensor
    num_groups: float


def scored_pairs(scores: torch.Tensor, group_index: torch.Tensor, *, noise: float) -> Pairs:
    """All pairs of responses of the same group; the higher score is the winner.

    The label is right with probability sigmoid(difference / noise); without noise always, and a tie
    is 1/2. `scores` and `group_index` are [response]; there are no margins.
    """
    rows = torch.arange(len(scores), device=scores.device)
    pairs = torch.combinations(rows)
    pairs = pairs[group_index[pairs[:, 0]] == group_index[pairs[:, 1]]]
    first_wins = scores[pairs[:, 0]] >= scores[pairs[:, 1]]
    winner = torch.where(first_wins, pairs[:, 0], pairs[:, 1])
    loser = pairs.sum(dim=1) - winner
    _, position, counts = group_index[winner].unique(return_inverse=True, return_counts=True)
    return Pairs(
        winner=winner,
        loser=loser,
        probability=preferred(scores[winner] - scores[loser], noise=noise),
        margin=torch.zeros_like(scores[winner]),
        weight=1.0 / counts[position].to(scores.dtype),
        num_groups=float(len(counts)),
    )


def pairs_of(groups: Sequence[PreferenceGroup], device: torch.device) -> Pairs:
    """The preferences of groups whose responses stand one group after the other."""
    winner, loser, probability, margin, weight = [], [], [], [], []
    offset = 0
    for group in groups:
        share = 1.0 / len(group.preferences)
        for preference in group.preferences:
            winner.append(offset + preference.winner)
            loser.append(offset + preference.loser)
            probability.append(preference.probability)
            margin.append(preference.margin)
            weight.append(share)
        offset += group.group.k
    return Pairs(
        winner=torch.tensor(winner, dtype=torch.long, device=device),
        loser=torch.tensor(loser, dtype=torch.long, device=device),
        probability=torch.tensor(probability, dtype=torch.float32, device=device),
        margin=torch.tensor(margin, dtype=torch.float32, device=device),
        weight=torch.tensor(weight, dtype=torch.float32, device=device),
        num_groups=float(len(groups)),
    )
