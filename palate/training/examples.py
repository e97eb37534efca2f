"""Examples of fixed data: token groups, and the loss of a batch of them by its indices."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from palate.batches.groups import TokenGroup
from palate.interfaces import LossOf

LossFor = Callable[[Sequence[int]], LossOf]
"""Indices of a batch -> the loss of that batch."""


class Examples(NamedTuple):
    """Groups of tokens and what is to be learned from them."""

    groups: Sequence[TokenGroup]
    loss_for: LossFor
