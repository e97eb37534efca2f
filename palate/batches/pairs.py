"""Preferences as index tensors into the responses of some groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
