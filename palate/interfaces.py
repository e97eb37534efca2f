"""The four protocols at the waist: Sampler, Learner, Scorer, Judge.

A laptop, torchrun, a Ray cluster or an inference server may implement them; no loop can tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from palate.records import Group, Judgement

if TYPE_CHECKING:
    import torch

    from palate.batches.groups import TokenGroup
    from palate.batches.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrompt:
    """A prompt as token ids; `id` is the prompt's content hash."""

    id: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sampled response: its ids (EOS included when written), the log-probability of each id
    under the sampler at its temperature (nats), and whether it stopped by itself."""

    prompt: TokenPrompt
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


class Sampler(Protocol):
    """Draws responses from the current policy."""

    def sample(
        self, prompts: Sequence[TokenPrompt], k: int, *, seed: int
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts per prompt, in order; equal arguments and weights give equal bits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a model says about N responses of at most T tokens; [response, time] speaks of token t.

    `entropy` is the policy's next-token entropy (nats) at the position that wrote token t.
    `values` is the critic's value, or the reward model's score, *before* token t was written;
    `scores` is the reward model's score of the whole response.
    A model that has no such head gives an empty tensor.
    """

    logprobs: "torch.Tensor"
    entropy: "torch.Tensor"
    values: "torch.Tensor"
    scores: "torch.Tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss before division: the learner divides the sum by the *global* weight.

    `sum` is a differentiable scalar; `weight` how much it counts (tokens, sequences, pairs).
    """

    sum: "torch.Tensor"
    weight: float
    metrics: "Metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one optimizer update did."""

    metrics: "Metrics"
    grad_norm: float
    lr: float


LossOf = Callable[[Outputs, Sequence[int]], Loss]
"""(outputs for some groups, their indices in the batch) -> Loss."""


class Learner(Protocol):
    """A model that can be asked about groups and be updated."""

    def outputs(self, groups: "Sequence[TokenGroup]") -> Outputs:
        """Without gradient, for all responses of all groups in order, padded to the longest."""
        ...

    def update(self, groups: "Sequence[TokenGroup]", loss: LossOf) -> Update:
        """One optimizer update: micro-batches by token budget, one global division."""
        ...


class Scorer(Protocol):
    """Turns groups into numbers, one per response (higher is better)."""

    name: str

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """Scores of every response of every group."""
        ...


MaybeScores = tuple[float | None, ...]
"""One reward's score of each response of a group; None where it does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The score of each response of a group, and what each of several rewards gave, unweighted."""

    total: tuple[float, ...]
    parts: Mapping[str, MaybeScores]


@runtime_checkable
class PartScorer(Scorer, Protocol):
    """A scorer that is made of several, and can say what each of them gave."""

    def scored(self, groups: Sequence[Group]) -> list[Scored]:
        """Scores of every response of every group, and their parts by name."""
        ...


class Judge(Protocol):
    """Says something about groups."""

    name: str

    def judge(self, groups: Sequence[Group], *, seed: int) -> list[Judgement]:
        """At least one judgement per group."""
        ...
