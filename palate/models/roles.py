"""What a network is asked for: a policy's log-probabilities, a critic's values, a reward's scores.

A role turns token groups into `Outputs`; it is the only thing a learner knows about a network.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import nn

from palate.batches.groups import TokenGroup
from palate.interfaces import Outputs
from palate.models.forward import (
    Hidden,
    group_hidden,
    token_scores,
    token_scores_with_entropy,
)
from palate.models.layout import Layout

Scope = Callable[[], AbstractContextManager[object]]
"""Opens the context in which a network computes: autocast, or an adapter being active."""


class Role(Protocol):
    """A network in one of its roles."""

    network: nn.Module
    layout: Layout
    device: torch.device

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """Outputs for the responses of the groups, with gradient when it is enabled."""
        ...


def _empty(like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros((0,))


class PolicyRole:
    """A causal language model: log-probabilities (at `temperature`) and entropies of its tokens."""

    def __init__(
        self, network: nn.Module, *, layout: Layout, temperature: float, scope: Scope = nullcontext
    ) -> None:
        self.network, self.layout = network, layout
        self.temperature, self.scope = temperature, scope
        self.device = next(network.parameters()).device

    def hidden(self, groups: Sequence[TokenGroup]) -> Hidden:
        """Hidden states at the positions that predict response tokens."""
        return group_hidden(self.network, groups, layout=self.layout)

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        with self.scope():
            hidden = self.hidden(groups)
            scores = token_scores_with_entropy(
                self.network, hidden, temperature=self.temperature
            )
        empty = _empty(scores.logprobs)
        return Outputs(
            logprobs=scores.logprobs, entropy=scores.entropy, values=empty, scores=empty
        )


class PlainPolicyRole(PolicyRole):
    """A policy whose entropy nobody asks for: supervised and preference losses."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        with self.scope():
            hidden = self.hidden(groups)
            scores = token_scores(self.network, hidden, temperature=self.temperature)
        empty = _empty(scores.logprobs)
        return Outputs(logprobs=scores.logprobs, entropy=empty, values=empty, scores=empty)


class CriticRole:
    """A backbone with a value head: the value before each response token."""

    def __init__(self, network: nn.Module, *, layout: Layout, scope: Scope = nullcontext) -> None:
        self.network, self.layout, self.scope = network, layout, scope
        self.device = next(network.parameters()).device

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        with self.scope():
            hidden = group_hidden(self.network.backbone, groups, layout=self.layout)
            values = self.network.head(hidden.states).squeeze(-1).float()
        values = torch.where(hidden.mask, values, 0.0)
        empty = _empty(values)
        return Outputs(logprobs=empty, entropy=empty, values=values, scores=empty)


class RewardRole:
    """A sequence classifier with one output: the score at each response's last token."""

    def __init__(self, network: nn.Module, *, layout: Layout, scope: Scope = nullcontext) -> None:
        self.network, self.layout, self.scope = network, layout, scope
        self.device = next(network.parameters()).device

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        with self.scope():
            hidden = group_hidden(self.network, groups, layout=self.layout)
            scores = self.network.score(hidden.last).squeeze(-1).float()
        empty = _empty(scores)
        return Outputs(logprobs=empty, entropy=empty, values=empty, scores=scores)
