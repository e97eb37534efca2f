"""Rollouts: sampling from a causal language model with a key-value cache and a changing batch.

A prompt runs once and is copied to its rows; finished rows leave the batch and waiting prompts
enter. Tokens are drawn by inverting the cumulative distribution at uniforms that are named by
(seed, prompt, response, token), so that a sample does not depend on what else is in the batch.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from palate.interfaces import Rollout, TokenPrompt
from palate.maths.logprobs import selected_logprobs
from palate.maths.seeds import seed as named_seed
from palate.models.cache import CachedRows, RecomputedRows, cache_fault, computed
from palate.models.forward import backbone_of, evaluating, token_logits
from palate.models.load import context_of

LOG = logging.getLogger(__name__)

_PREFILL_TOKENS = 16384
"""Prompt tokens per forward pass."""

_BELOW_ONE = 1 - 2.0**-50
"""Keeps a product with a total below the total after rounding."""


class Generator:
    """Samples from a network whose weights may change between calls.

    An architecture that cannot decode from `CachedRows` (found out here) runs whole sequences.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        *,
        eos_ids: Collection[int],
        pad_id: int,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.network, self.pad_id, self.autocast = network, pad_id, autocast
        self.eos_ids = torch.tensor(sorted(eos_ids), dtype=torch.long, device=network.device)
        self.context = context_of(network)
        with torch.inference_mode(), evaluating(network):
            fault = cache_fault(backbone_of(network))
        if fault:
            LOG.warning("%s generates without a cache, slowly: %s", type(network).__name__, fault)
        self.rows_type = RecomputedRows if fault else CachedRows

    def generate(
        self,
        prompts: Sequence[TokenPrompt],
        k: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        rows: int,
        seed: int,
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts of each prompt, at most `rows` at a time, of at most `max_tokens` tokens.

        With top_p < 1 the smallest set of likeliest tokens with that mass is sampled, and recorded
        log-probabilities are those of the renormalized set.
        """
        if not prompts:
            return []
        limits = [self._room(prompt, max_tokens) for prompt in prompts]
        sheet = _Sheet.blank(prompts, k, limits, seed, self.network.device)
        with torch.inference_mode(), evaluating(self.network), self.autocast():
            self._fill(sheet, min(rows, len(prompts) * k), temperature, top_p)
        if not torch.isfinite(sheet.logprobs).all():
            raise FloatingPointError("the logits are not finite: training has diverged")
        return sheet.rollouts(frozenset(self.eos_ids.tolist()))

    def _fill(self, sheet: "_Sheet", rows: int, temperature: float, top_p: float) -> None:
        """Write all responses of the sheet, `rows` at a time."""
        memory = self.rows_type(
            backbone_of(self.network), rows=rows, columns=sheet.longest, pad_id=self.pad_id
        )
        waiting = sheet.longest_first()
        active = sheet.written[:0]
        states: list[Tensor] = []
        while waiting or len(active):
            free = rows - len(active)
            if waiting and free >= min(len(waiting), _entry(rows)):
                entering, waiting = waiting[:free], waiting[free:]
                active = torch.cat([active, active.new_tensor(entering)])
                states += [memory.enter(*part) for part in sheet.passes(entering)]
            tokens = self._draw(torch.cat(states), sheet, active, temperature, top_p)
            going = ~(torch.isin(tokens, self.eos_ids) | sheet.is_full(active))
            if not going.all():
                survivors = _closed_ranks(going)
                memory.keep(survivors)
                active, tokens = active[survivors], tokens[survivors]
            states = [memory.step(tokens)] if len(active) else []

    def _draw(
        self,
        states: Tensor,
        sheet: "_Sheet",
        responses: Tensor,
        temperature: float,
        top_p: float,
    ) -> Tensor:
        """Draw the next token of some responses and write it down."""
        padded = functional.pad(states, (0, 0, 0, computed(len(states)) - len(states)))
        logits = token_logits(self.network, padded, temperature=temperature)[: len(states)]
        if top_p < 1:
            logits = nucleus(logits, top_p)
        tokens = inverse_cdf(logits.softmax(-1), sheet.next_uniforms(responses))
        sheet.write(responses, tokens, selected_logprobs(logits, tokens))
        return tokens

    def _room(self, prompt: TokenPrompt, max_tokens: int) -> int:
        """How many tokens may follow a prompt."""
        if self.context is None:
            return max_tokens
        room = self.context - len(prompt.ids)
        if room < 1:
            raise ValueError(
                f"a prompt of {len(prompt.ids)} tokens leaves no room in the model's context of "
                f"{self.context}: lower prompt.max_tokens below it"
            )
        return min(max_tokens, room)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """All responses of a call, prompt by prompt; tokens and log-probabilities [response, time]."""

    prompts: Sequence[TokenPrompt]
    k: int
    tokens: Tensor
    logprobs: Tensor
    uniforms: Tensor
    written: Tensor
    limits: Tensor

    @classmethod
    def blank(
        cls,
        prompts: Sequence[TokenPrompt],
        k: int,
        limits: Sequence[int],
        seed: int,
        device: torch.device,
    ) -> "_Sheet":
        """Nothing written; the uniform of token t is number t of the response's own stream."""
        time = max(limits)
        streams = [np.random.Generator(np.random.Philox(key=s)) for s in _seeds(prompts, k, seed)]
        uniforms = np.stack([stream.random(time) for stream in streams])
        written = torch.zeros(len(streams), dtype=torch.long, device=device)
        return cls(
            prompts=prompts,
            k=k,
            tokens=written.new_zeros((len(streams), time)),
            logprobs=torch.zeros((len(streams), time), device=device),
            uniforms=torch.from_numpy(uniforms).to(device),
            written=written,
            limits=written.new_tensor(limits).repeat_interleave(k),
        )

    @property
    def longest(self) -> int:
        """Columns that hold any prompt and its response."""
        return max(len(prompt.ids) for prompt in self.prompts) + self.tokens.shape[1]

    def longest_first(self) -> list[int]:
        """Responses by falling prompt length, so that rows of like length meet."""
        order = sorted(range(len(self.prompts)), key=lambda p: -len(self.prompts[p].ids))
        return [p * self.k + copy for p in order for copy in range(self.k)]

    def passes(self, responses: Sequence[int]) -> list[tuple[list[tuple[int, ...]], list[int]]]:
        """Prompts of some responses and how many of them each has, by forward pass."""
        copies = list(Counter(response // self.k for response in responses).items())
        size = max(1, _PREFILL_TOKENS // max(len(self.prompts[p].ids) for p, _ in copies))
        parts = [copies[start : start + size] for start in range(0, len(copies), size)]
        return [([self.prompts[p].ids for p, _ in part], [n for _, n in part]) for part in parts]

    def next_uniforms(self, responses: Tensor) -> Tensor:
        """The uniforms of the next token of some responses."""
        return self.uniforms[responses, self.written[responses]]

    def write(self, responses: Tensor, tokens: Tensor, logprobs: Tensor) -> None:
        """Append one token to some responses."""
        time = self.written[responses]
        self.tokens[responses, time] = tokens
        self.logprobs[responses, time] = logprobs.to(self.logprobs.dtype)
        self.written[responses] += 1

    def is_full(self, responses: Tensor) -> Tensor:
        """True where a response may not grow."""
        return self.written[responses] >= self.limits[responses]

    def rollouts(self, eos_ids: frozenset[int]) -> list[tuple[Rollout, ...]]:
        """What has been written, by prompt."""
        columns = (self.written.tolist(), self.tokens.tolist(), self.logprobs.tolist())
        rollouts = [
            Rollout(
                prompt=self.prompts[response // self.k],
                tokens=tuple(tokens[:length]),
                logprobs=tuple(logprobs[:length]),
                finished=tokens[length - 1] in eos_ids,
            )
            for response, (length, tokens, logprobs) in enumerate(zip(*columns, strict=True))
        ]
        return [tuple(rollouts[p : p + self.k]) for p in range(0, len(rollouts), self.k)]


def inverse_cdf(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The first token of each row whose cumulative probability exceeds the row's uniform.

    In double precision, lest a large vocabulary quantize; in two levels (sums of blocks, then one
    block), because a cumulative sum over all tokens costs as much as the softmax, several times.
    """
    rows, vocabulary = probabilities.shape
    size = math.isqrt(vocabulary - 1) + 1
    blocks = functional.pad(probabilities, (0, size * size - vocabulary)).view(rows, size, size)
    mass = blocks.sum(-1, dtype=torch.float64)
    upto = mass.cumsum(-1)
    target = uniforms[:, None] * upto[:, -1:] * _BELOW_ONE
    block = torch.searchsorted(upto, target, right=True).clamp(max=size - 1)  # NaN ends up behind
    inside = blocks[torch.arange(rows, device=block.device), block[:, 0]].double().cumsum(-1)
    rest = target - (upto - mass).gather(1, block)
    rest = torch.minimum(rest, inside[:, -1:] * _BELOW_ONE)
    tokens = block * size + torch.searchsorted(inside, rest, right=True)
    return tokens[:, 0].clamp(max=vocabulary - 1)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits of the fewest likeliest tokens with mass top_p, -inf elsewhere (Holtzman 2020).

    Tokens exactly as likely as the least likely of them stay too, whatever order they come in.
    """
    probabilities = logits.softmax(-1)
    # Tokens this unlikely have less than 1 - top_p together: all are outside, and need no sorting.
    unlikely = (1 - top_p) / probabilities.shape[-1]
    candidates = max(1, int((probabilities > unlikely).sum(-1).max()))
    ordered = probabilities.topk(candidates).values
    outside = ordered.cumsum(-1) - ordered >= top_p
    least = ordered.masked_fill(outside, torch.inf).amin(-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -torch.inf)


def _seeds(prompts: Sequence[TokenPrompt], k: int, seed: int) -> list[int]:
    """One seed per response; equal prompts in one call are told apart by their occurrence."""
    seen: Counter[str] = Counter()
    seeds: list[int] = []
    for prompt in prompts:
        seeds += [named_seed(seed, prompt.id, seen[prompt.id], copy) for copy in range(k)]
        seen[prompt.id] += 1
    return seeds


def _closed_ranks(going: Tensor) -> Tensor:
    """Which row each remaining row is taken from, so that few move: the last ones fill the gaps."""
    count = int(going.sum())
    survivors = torch.arange(count, device=going.device)
    survivors[~going[:count]] = count + going[count:].nonzero()[:, 0]
    return survivors


def _entry(rows: int) -> int:
    """How many rows have to be free before prompts enter: an entry costs a pass of its own."""
    return -(-rows // 4)
