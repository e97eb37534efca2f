"""What a network is asked for: a policy's log-probabilities, a critic's values, a reward's scores.

A role turns token groups into `Outputs`; it is the only thing a learner knows about a network.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from palate.batches.groups import TokenGroup
from palate.interfaces import Outputs
from palate.models.adapters import adapter_parameters
from palate.models.forward import (
    Hidden,
    group_hidden,
    token_scores,
    token_scores_with_entropy,
)
from palate.models.layout import Layout
from palate.models.reward_model import ValueModel

Scope = Callable[[], AbstractContextManager[object]]
"""Opens the context in which a network computes: autocast, or an adapter being active."""


class Role(Protocol):
    """A network in one of its roles."""

    layout: Layout
    device: torch.device

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that this role learns, by name."""
        ...

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """Outputs for the responses of the groups, with gradient when it is enabled."""
        ...


def _learning(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def _before_tokens(head: nn.Module, hidden: Hidden) -> torch.Tensor:
    """What a head with one output says before each response token, [response, time]; 0 beyond."""
    values = head(hidden.states).squeeze(-1).float()
    return torch.where(hidden.mask, values, 0.0)


def _empty(like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros((0,))


class PolicyRole:
    """A causal language model: log-probabilities (at `temperature`) and entropies of its tokens.

    `adapter` names the adapter that this role trains and computes with; empty for a plain network.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        *,
        layout: Layout,
        temperature: float,
        adapter: str = "",
        scope: Scope = nullcontext,
    ) -> None:
        self.network = network
        self.layout: Layout = layout
        self.temperature, self.adapter, self.scope = temperature, adapter, scope
        self.device = next(network.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """The adapter's weights, or all that require a gradient."""
        if self.adapter:
            return adapter_parameters(self.network, self.adapter)
        return _learning(self.network)

    def hidden(self, groups: Sequence[TokenGroup]) -> Hidden:
        """Hidden states at the positions that predict response tokens."""
        return group_hidden(self.network, groups, layout=self.layout)

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """See `Role`."""
        with self.scope():
            hidden = self.hidden(groups)
            scores = token_scores_with_entropy(self.network, hidden, temperature=self.temperature)
        empty = _empty(scores.logprobs)
        return Outputs(logprobs=scores.logprobs, entropy=scores.entropy, values=empty, scores=empty)


class PlainPolicyRole(PolicyRole):
    """A policy whose entropy nobody asks for: supervised and preference losses."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """See `Role`."""
        with self.scope():
            hidden = self.hidden(groups)
            scores = token_scores(self.network, hidden, temperature=self.temperature)
        empty = _empty(scores.logprobs)
        return Outputs(logprobs=scores.logprobs, entropy=empty, values=empty, scores=empty)


class CriticRole:
    """A backbone with a value head: the value before each response token.

    With `adapter`, the backbone is shared with the policy and the critic trains its own adapter.
    """

    def __init__(
        self,
        network: ValueModel,
        *,
        layout: Layout,
        adapter: str = "",
        scope: Scope = nullcontext,
    ) -> None:
        self.network, self.adapter, self.scope = network, adapter, scope
        self.layout: Layout = layout
        self.device = next(network.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """The head, and the adapter's or the whole backbone's weights."""
        if not self.adapter:
            return _learning(self.network)
        backbone = adapter_parameters(self.network.backbone, self.adapter)
        return backbone | {f"head.{n}": p for n, p in self.network.head.named_parameters()}

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """See `Role`."""
        with self.scope():
            hidden = group_hidden(self.network.backbone, groups, layout=self.layout)
            values = _before_tokens(self.network.head, hidden)
        empty = _empty(values)
        return Outputs(logprobs=empty, entropy=empty, values=values, scores=empty)


class RewardRole:
    """The score at each response's last token, from a sequence classifier with one output.

    With `prefixes`, also the score before each token, as `values`. With `adapter`, the backbone is
    shared with the policy: the reward model is that adapter of it and a head of its own.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        *,
        layout: Layout,
        head: nn.Module | None = None,
        prefixes: bool = False,
        adapter: str = "",
        scope: Scope = nullcontext,
    ) -> None:
        self.network, self.adapter, self.scope = network, adapter, scope
        self.prefixes = prefixes
        self.head: nn.Module = head or network.get_submodule("score")
        self.layout: Layout = layout
        self.device = next(network.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """All weights that require a gradient, or the adapter's and the head's."""
        if not self.adapter:
            return _learning(self.network)
        backbone = adapter_parameters(self.network, self.adapter)
        return backbone | {f"head.{n}": p for n, p in self.head.named_parameters()}

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """See `Role`."""
        with self.scope():
            hidden = group_hidden(self.network, groups, layout=self.layout)
            scores = self.head(hidden.last).squeeze(-1).float()
            empty = values = _empty(scores)
            if self.prefixes:
                values = _before_tokens(self.head, hidden)
        return Outputs(logprobs=empty, entropy=empty, values=values, scores=scores)
