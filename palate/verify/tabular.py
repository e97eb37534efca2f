"""Roles whose weights are tables, and a sampler that draws from one: small enough to be exact."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from palate.batches.groups import TokenGroup
from palate.interfaces import Outputs, Rollout, TokenPrompt
from palate.maths.logprobs import entropy, selected_logprobs
from palate.models.layout import Layout
from palate.verify.enumeration import Tree, logp_all, token_logprobs

_EMPTY = torch.zeros(0)


class Index:
    """Where prompts and responses stand in tables over a tree: text as numbers."""

    def __init__(self, tree: Tree, prompts: Sequence[tuple[int, ...]]) -> None:
        self.tree = tree
        self.prompts = {ids: number for number, ids in enumerate(prompts)}
        self.responses = {ids: number for number, ids in enumerate(tree.responses)}

    def places(self, groups: Sequence[TokenGroup]) -> tuple[Tensor, Tensor]:
        """[response] prompt numbers and response numbers of some groups, in order."""
        pairs = [
            (self.prompts[group.prompt], self.responses[response])
            for group in groups
            for response in group.responses
        ]
        prompts, responses = torch.tensor(pairs).unbind(-1)
        return prompts, responses


class _TableRole:
    """A role (see `palate.models.roles.Role`) with one parameter."""

    layout: Layout = "rows"
    device = torch.device("cpu")

    def __init__(self, index: Index, start: Tensor) -> None:
        self.index, self.table = index, nn.Parameter(start.clone())

    def trained(self) -> dict[str, nn.Parameter]:
        """The table."""
        return {"table": self.table}

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        raise NotImplementedError


class TabularPolicy(_TableRole):
    """Next-token logits [prompt, state, vocabulary]: can represent every policy."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """Log-probabilities and entropies of the responses' tokens."""
        prompts, responses = self.index.places(groups)
        tree = self.index.tree
        mask = tree.mask[responses]
        time = int(mask.sum(-1).max())
        logits = self.table[prompts[:, None], tree.states[responses, :time]]
        chosen, mask = tree.tokens[responses, :time], mask[:, :time]
        return Outputs(
            logprobs=selected_logprobs(logits, chosen).where(mask, 0.0),
            entropy=entropy(logits).where(mask, 0.0),
            values=_EMPTY,
            scores=_EMPTY,
        )


class TabularCritic(_TableRole):
    """Values [prompt, state] before each token."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """The values of the states in which the responses' tokens were written."""
        prompts, responses = self.index.places(groups)
        tree = self.index.tree
        mask = tree.mask[responses]
        mask = mask[:, : int(mask.sum(-1).max())]
        values = self.table[prompts[:, None], tree.states[responses, : mask.shape[1]]]
        return Outputs(
            logprobs=_EMPTY, entropy=_EMPTY, values=values.where(mask, 0.0), scores=_EMPTY
        )


class TabularReward(_TableRole):
    """Scores [prompt, response]."""

    def __call__(self, groups: Sequence[TokenGroup]) -> Outputs:
        """The scores of the responses."""
        return Outputs(
            logprobs=_EMPTY, entropy=_EMPTY, values=_EMPTY, scores=self.table[self.index.places(groups)]
        )


class TabularSampler:
    """Draws whole responses, independently, from a tabular policy as it is at each call."""

    def __init__(self, policy: TabularPolicy, *, eos: int) -> None:
        self.policy, self.eos = policy, eos

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[TokenPrompt], k: int, *, seed: int
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts per prompt, in order."""
        index, table = self.policy.index, self.policy.table
        rows = torch.tensor([index.prompts[prompt.ids] for prompt in prompts])
        draw = torch.Generator().manual_seed(seed)
        probabilities = logp_all(index.tree, table).exp()[rows]
        drawn = torch.multinomial(probabilities, k, replacement=True, generator=draw)
        logprobs = token_logprobs(index.tree, table)[rows[:, None], drawn].tolist()
        return [
            tuple(
                self._rollout(prompt, response, row[copy])
                for copy, response in enumerate(responses)
            )
            for prompt, responses, row in zip(prompts, drawn.tolist(), logprobs, strict=True)
        ]

    def _rollout(self, prompt: TokenPrompt, response: int, logprobs: list[float]) -> Rollout:
        tokens = self.policy.index.tree.responses[response]
        return Rollout(
            prompt=prompt,
            tokens=tokens,
            logprobs=tuple(logprobs[: len(tokens)]),
            finished=tokens[-1] == self.eos,
        )
