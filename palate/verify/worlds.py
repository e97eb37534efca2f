"""Enumerable problems with everybody in them whom the loops ask for: policy, reference, reward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import PromptConfig
from palate.interfaces import Sampler
from palate.models.roles import Role
from palate.models.tokens import Encoder
from palate.records import Group, Prompt
from palate.verify.enumeration import Problem, Tree, logp_all, tabular
from palate.verify.tabular import (
    Index,
    TabularCritic,
    TabularPolicy,
    TabularSampler,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Prompts whose every response is known, with its reward [prompt, response]."""

    tree: Tree
    prompts: tuple[Prompt, ...]
    reward: Tensor
    log_ref: Tensor
    policy: Role
    reference: Role
    critic: Role
    sampler: Sampler
    encoder: Encoder
    logp: Callable[[], Tensor]

    def groups(self) -> list[TokenGroup]:
        """Every response to every prompt."""
        return [
            token_group(prompt.id, prompt.token_ids, self.tree.responses)
            for prompt in self.prompts
        ]


class TableScorer:
    """`Scorer` that looks the reward [prompt, response] of the sampled ids up."""

    name = "table"

    def __init__(self, world: World) -> None:
        self.index = Index(world.tree, [prompt.token_ids for prompt in world.prompts])
        self.reward = world.reward.tolist()

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """Rewards of every response of every group."""
        index = self.index
        return [
            tuple(
                self.reward[index.prompts[group.prompt.token_ids]][index.responses[r.token_ids]]
                for r in group.responses
            )
            for group in groups
        ]


def number_encoder(vocabulary: int, *, eos: int) -> Encoder:
    """An encoder whose text is the token numbers; padding is the end-of-sequence token."""
    words = {str(token): token for token in range(vocabulary)}
    backend = Tokenizer(models.WordLevel(words, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=str(eos), pad_token=str(eos)
    )
    return Encoder(tokenizer, PromptConfig(format="raw"))


def tabular_world(problem: Problem) -> World:
    """The policy starts as the reference; all computing is in double precision."""
    tree = problem.tree
    ids = [(number,) for number in range(len(problem.reward))]
    index = Index(tree, ids)
    policy = TabularPolicy(index, problem.ref_logits)
    return World(
        tree=tree,
        prompts=tuple(Prompt(token_ids=prompt) for prompt in ids),
        reward=problem.reward,
        log_ref=logp_all(tree, problem.ref_logits),
        policy=policy,
        reference=TabularPolicy(index, problem.ref_logits),
        critic=TabularCritic(index, torch.zeros_like(problem.ref_logits[..., 0])),
        sampler=TabularSampler(policy, eos=tree.eos),
        encoder=number_encoder(tree.vocabulary, eos=tree.eos),
        logp=lambda: logp_all(tree, policy.table.detach()),
    )
