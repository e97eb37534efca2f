"""Roles whose weights are tables, and samplers from them: small enough to be exact.

A table can represent every policy, so what training leaves between it and the optimum is training.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from palate.batches.groups import TokenGroup
from palate.interfaces import Outputs, Rollout, TokenPrompt
from palate.maths.logprobs import entropy, selected_logprobs
from palate.models.layout import Layout
from palate.verify.enumeration import Tree, logp_all, token_logprobs

Draw = Callable[[Tensor, int, torch.Generator], Tensor]
"""(probabilities [prompt, response], k, generator) -> numbers of drawn responses [prompt, k]."""

_EMPTY = torch.zeros(0)


class Index:
    """Where prompts and responses, given as token ids, stand in tables over a tree."""

    def __init__(self, tree: Tree, prompts: Sequence[tuple[int, ...]]) -> None:
        self.tree = tree
        self.prompts = {ids: number for number, ids in enumerate(prompts)}
        self.responses = {ids: number for number, ids in enumerate(tree.responses)}

    def places(self, groups: Sequence[TokenGroup]) -> tuple[Tensor, Tensor]:
        """[response] numbers of the prompts and of the responses of some groups, in order."""
        pairs = [
            (self.prompts[group.prompt], self.responses[response])
            for group in groups
            for response in group.responses
        ]
        prompts, responses = torch.tensor(pairs).unbind(-1)
        return prompts, responses

    def steps(self, groups: Sequence[TokenGroup]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[response, time] prompt, state, token and mask of every token of some groups."""
        prompts, responses = self.places(groups)
        mask = self.tree.mask[responses]
        time = int(mask.sum(-1).max())
        states, tokens = self.tree.states[responses], self.tree.tokens[responses]
        return prompts[:, None], states[:, :time], tokens[:, :time], mask[:, :time]


class Table:
    """What the roles below share: one parameter whose first axis is the prompt."""

    def __init__(self, index: Index, start: Tensor) -> None:
        self.index, self.table = index, nn.Parameter(start.clone())
        self.layout: Layout = "rows"
        self.device = start.device

    def trained(self) -> dict[str, nn.Parameter]:
        """The table."""
        return {"table": self.table}


class TabularPolicy(Table):
    """Next-token logits [prompt, state, vocabulary]."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """Log-probabilities and entropies of the responses' tokens."""
        prompts, states, tokens, mask = self.index.steps(groups)
        logits = self.table[prompts, states]
        return Outputs(
            logprobs=selected_logprobs(logits, tokens).where(mask, 0.0),
            entropy=entropy(logits).where(mask, 0.0),
            values=_EMPTY,
            scores=_EMPTY,
        )


class TabularCritic(Table):
    """Values [prompt, state] before a token is written."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """The values of the states in which the responses' tokens were written."""
        prompts, states, _, mask = self.index.steps(groups)
        values = self.table[prompts, states].where(mask, 0.0)
        return Outputs(logprobs=_EMPTY, entropy=_EMPTY, values=values, scores=_EMPTY)


class TabularReward(Table):
    """Scores [prompt, response]."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """The scores of the responses."""
        scores = self.table[self.index.places(groups)]
        return Outputs(logprobs=_EMPTY, entropy=_EMPTY, values=_EMPTY, scores=scores)


def independent(probabilities: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k independent draws per prompt: what a language model does."""
    return torch.multinomial(probabilities, k, replacement=True, generator=generator)


def systematic(probabilities: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Every k-th quantile from a random start: expected counts as above, hardly any noise.

    A group of such draws stands for the whole distribution, its mean for the expectation, so that
    a fixed point that noise would blur can be told from its neighbours.
    """
    start = torch.rand((len(probabilities), 1), generator=generator, dtype=probabilities.dtype)
    quantiles = (start + torch.arange(k)) / k
    last = probabilities.shape[1] - 1
    return torch.searchsorted(probabilities.cumsum(-1), quantiles, right=True).clamp(max=last)


class TabularSampler:
    """`Sampler` of whole responses from a tabular policy as it is at each call."""

    def __init__(self, policy: TabularPolicy, draw: Draw) -> None:
        self.policy, self.draw = policy, draw

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[TokenPrompt], k: int, *, seed: int
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts per prompt, in order."""
        tree, table = self.policy.index.tree, self.policy.table
        rows = torch.tensor([self.policy.index.prompts[prompt.ids] for prompt in prompts])
        generator = torch.Generator().manual_seed(seed)
        drawn = self.draw(logp_all(tree, table).exp()[rows], k, generator)
        logprobs = token_logprobs(tree, table)[rows[:, None], drawn].tolist()
        return [
            tuple(_rollout(tree, prompt, *copy) for copy in zip(numbers, values, strict=True))
            for prompt, numbers, values in zip(prompts, drawn.tolist(), logprobs, strict=True)
        ]


def _rollout(tree: Tree, prompt: TokenPrompt, response: int, logprobs: list[float]) -> Rollout:
    tokens = tree.responses[response]
    return Rollout(
        prompt=prompt,
        tokens=tokens,
        logprobs=tuple(logprobs[: len(tokens)]),
        finished=tokens[-1] == tree.eos,
    )
