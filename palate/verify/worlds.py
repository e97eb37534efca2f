"""Problems whose every response is known, with everybody in them whom the loops ask for.

A world holds the product's own roles, sampler and encoder; only the reward is looked up.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import PromptConfig
from palate.interfaces import Rollout, Sampler, TokenPrompt
from palate.models.forward import supports_tree
from palate.models.generate import Generator
from palate.models.precision import pick_device
from palate.models.reward_model import critic_from
from palate.models.roles import CriticRole, PolicyRole, Role
from palate.models.tokens import Encoder
from palate.records import Group, Prompt
from palate.training.learner import read_all
from palate.verify.enumeration import Problem, TextProblem, Tree, logp_all, tree
from palate.verify.tabular import (
    Draw,
    Index,
    TabularCritic,
    TabularPolicy,
    TabularSampler,
    independent,
)

MICRO_BATCH = 4096
"""Tokens per forward pass."""

_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Prompts, all responses to each, their rewards [prompt, response], and who takes part.

    `logp()` is the exact log-probability of every response under the policy as it is now, and
    `log_ref` that under the reference, where the policy started.
    """

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

    @property
    def index(self) -> Index:
        """Where prompts and responses stand."""
        return Index(self.tree, [prompt.token_ids for prompt in self.prompts])


class TableScorer:
    """`Scorer` that looks up the reward [prompt, response] of the ids that were sampled."""

    name = "table"

    def __init__(self, index: Index, reward: Tensor) -> None:
        self.index, self.reward = index, reward.tolist()

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """Rewards of every response of every group."""
        responses = self.index.responses
        rows = [self.reward[self.index.prompts[group.prompt.token_ids]] for group in groups]
        return [
            tuple(row[responses[response.token_ids]] for response in group.responses)
            for row, group in zip(rows, groups, strict=True)
        ]


class GeneratorSampler:
    """`Sampler` over the product's generator."""

    def __init__(
        self, network: PreTrainedModel, encoder: Encoder, *, temperature: float, max_tokens: int
    ) -> None:
        self.temperature, self.max_tokens = temperature, max_tokens
        self.generator = Generator(network, eos_ids=encoder.eos_ids, pad_id=encoder.pad_id)

    def sample(
        self, prompts: Sequence[TokenPrompt], k: int, *, seed: int
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts per prompt, in order."""
        return self.generator.generate(
            prompts,
            k,
            temperature=self.temperature,
            top_p=1.0,
            max_tokens=self.max_tokens,
            rows=_ROWS,
            seed=seed,
        )


def number_encoder(vocabulary: int, *, eos: int) -> Encoder:
    """An encoder whose words are token numbers; padding is the end-of-sequence token."""
    words = {str(token): token for token in range(vocabulary)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")),
        eos_token=str(eos),
        pad_token=str(eos),
    )
    return Encoder(tokenizer, PromptConfig(format="raw"))


def tabular_world(problem: Problem, *, draw: Draw = independent) -> World:
    """The policy is a table of logits that starts as the reference, in double precision."""
    responses = problem.tree
    prompts = [(number,) for number in range(len(problem.reward))]
    index = Index(responses, prompts)
    policy = TabularPolicy(index, problem.ref_logits)
    return World(
        tree=responses,
        prompts=tuple(Prompt(token_ids=ids) for ids in prompts),
        reward=problem.reward,
        log_ref=logp_all(responses, problem.ref_logits),
        policy=policy,
        reference=TabularPolicy(index, problem.ref_logits),
        critic=TabularCritic(index, torch.zeros_like(problem.ref_logits[..., 0])),
        sampler=TabularSampler(policy, draw),
        encoder=number_encoder(responses.vocabulary, eos=responses.eos),
        logp=lambda: logp_all(responses, policy.table.detach()),
    )


def transformer_world(
    network: PreTrainedModel, problem: TextProblem, *, temperature: float = 1.0
) -> World:
    """The policy is a causal language model, scored and sampled as everywhere in the product."""
    responses = problem.tree
    encoder = number_encoder(responses.vocabulary, eos=responses.eos)
    layout = supports_tree(network).layout
    policy, reference = (
        PolicyRole(model, layout=layout, temperature=temperature)
        for model in (network, copy.deepcopy(network).requires_grad_(False))
    )
    groups = [token_group(str(ids), ids, responses.responses) for ids in problem.prompts]
    shape = problem.reward.shape
    sampler = GeneratorSampler(
        network, encoder, temperature=temperature, max_tokens=responses.tokens.shape[1]
    )
    return World(
        tree=responses,
        prompts=tuple(Prompt(token_ids=ids) for ids in problem.prompts),
        reward=problem.reward,
        log_ref=scored(reference, groups, budget=MICRO_BATCH).view(shape),
        policy=policy,
        reference=reference,
        critic=CriticRole(critic_from(network), layout=layout),
        sampler=sampler,
        encoder=encoder,
        logp=lambda: scored(policy, groups, budget=MICRO_BATCH).view(shape),
    )


def text_problem_of(
    prompts: Sequence[tuple[int, ...]],
    reward: Callable[[tuple[int, ...], tuple[int, ...]], float],
    *,
    vocabulary: int,
    eos: int,
    max_tokens: int,
    beta: float,
) -> TextProblem:
    """Your own prompts and `reward(prompt ids, response ids)`, for `transformer_world`.

    Every response of at most `max_tokens` tokens is enumerated: vocabulary ** max_tokens is small.
    """
    responses = tree(vocabulary=vocabulary, eos=eos, length=max_tokens)
    rewards = [[reward(prompt, response) for response in responses.responses] for prompt in prompts]
    return TextProblem(
        tree=responses,
        prompts=tuple(prompts),
        pad=eos,
        reward=torch.tensor(rewards, dtype=torch.float64),
        beta=beta,
    )


def scored(role: Role, groups: Sequence[TokenGroup], *, budget: int) -> Tensor:
    """[response] log-probabilities (nats) by a role, summed over tokens in double precision."""
    return read_all(role, groups, budget=budget).logprobs.double().sum(-1).cpu()


def tiny_llama(seed: int) -> PreTrainedModel:
    """EP-TF's reference with rotary positions: 2 layers of width 32, far from uniform."""
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=None,
    )
    return _random(LlamaForCausalLM(config), seed)


def tiny_gpt2(seed: int) -> PreTrainedModel:
    """EP-TF's reference with learned positions, the kind that sees a wrong position id."""
    config = GPT2Config(
        vocab_size=5,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    return _random(GPT2LMHeadModel(config), seed)


def _random(network: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Embeddings from N(0, 1), other matrices from N(0, 1/d)."""
    draw = torch.Generator().manual_seed(seed)
    embedding = network.get_input_embeddings()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                scale = 1.0 if parameter is embedding.weight else 32**-0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=draw))
    nn.Module.to(network, pick_device("auto"))
    return network.eval()
