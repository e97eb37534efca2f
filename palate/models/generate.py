"""Rollouts: sampling from a causal language model with a key-value cache and a changing batch.

A prompt runs once and is copied to its rows; finished rows leave the batch and waiting prompts
enter. Tokens are drawn by inverting the cumulative distribution at uniforms that are named by
(seed, prompt, response, token), so that a sample does not depend on what else is in the batch.
"""

import itertools
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
from transformers import Cache, DynamicCache, PreTrainedModel

from palate.interfaces import Rollout, TokenPrompt
from palate.maths.logprobs import selected_logprobs
from palate.maths.seeds import seed as named_seed
from palate.models.forward import (
    attention_masks,
    backbone_of,
    evaluating,
    relative_gap,
    token_logits,
    tolerance,
)
from palate.models.load import context_of

LOG = logging.getLogger(__name__)

# Matrix kernels round alike from four rows on, attention kernels when widths are multiples of 16:
# with both, a row's bits do not depend on its neighbors (on CPUs; elsewhere nearly so).
_LEAST_ROWS = 4
_COLUMNS = 16

_BELOW_ONE = 1 - 2.0**-50


def _rounded_up(columns: int) -> int:
    return -(-columns // _COLUMNS) * _COLUMNS


class CachedRows(Cache):
    """Keys and values of a changing set of sequences, each written in place at its own column.

    Rows 0 to count - 1 are in use. Columns behind a row's length hold leftovers that no one sees.
    """

    def __init__(self, backbone: PreTrainedModel, *, rows: int, columns: int, pad_id: int) -> None:
        super().__init__(layers=[])
        self.backbone, self.pad_id = backbone, pad_id
        self.rows, self.columns = max(rows, _LEAST_ROWS), _rounded_up(columns)
        self.count = 0
        self.lengths = torch.zeros(self.rows, dtype=torch.long, device=backbone.device)
        self.slabs: list[tuple[Tensor, Tensor]] = []

    def enter(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """Run each prompt once, append its copies; [row, width] states after the last token."""
        ids, lengths = _padded(prompts, self.pad_id, self.lengths.device)
        fresh = DynamicCache()
        output = self.backbone(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=fresh,
            use_cache=True,
        )
        self.slabs = self.slabs or [
            (self._slab(layer.keys), self._slab(layer.values)) for layer in fresh.layers
        ]
        source = _repeated(copies, ids.device)
        new = slice(self.count, self.count + len(source))
        for (keys, values), layer in zip(self.slabs, fresh.layers, strict=True):
            keys[new, :, : ids.shape[1]] = layer.keys[source]
            values[new, :, : ids.shape[1]] = layer.values[source]
        self.lengths[new] = lengths[source]
        self.count += len(source)
        states = output.last_hidden_state
        return states[torch.arange(len(states), device=ids.device), lengths - 1][source]

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; [row, width] states after it."""
        busy = max(self.count, _LEAST_ROWS)
        self.at = self.lengths[:busy].clone()
        self.lengths[: self.count] += 1
        self.width = _rounded_up(int(self.at.max()) + 1)
        columns = torch.arange(self.width, device=tokens.device)
        output = self.backbone(
            input_ids=functional.pad(tokens, (0, busy - self.count)).unsqueeze(1),
            attention_mask=attention_masks(
                self.backbone,
                (columns <= self.at[:, None]).unsqueeze(1),
                self.at[:, None],
                columns[None],
            ),
            position_ids=self.at[:, None],
            past_key_values=self,
            use_cache=True,
        )
        return output.last_hidden_state[: self.count, 0]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """What transformers calls in every layer: write a column, return all of them as views."""
        keys, values = self.slabs[layer_idx]
        rows = torch.arange(len(self.at), device=self.at.device)
        keys[rows, :, self.at] = key_states[:, :, 0].to(keys.dtype)
        values[rows, :, self.at] = value_states[:, :, 0].to(values.dtype)
        return keys[: len(rows), :, : self.width], values[: len(rows), :, : self.width]

    def keep(self, survivors: Tensor) -> None:
        """Row r becomes what row survivors[r] was, at or behind r; the others leave."""
        target = (survivors != torch.arange(len(survivors), device=survivors.device)).nonzero()[:, 0]
        source = survivors[target]
        width = int(self.lengths[: self.count].max())
        for slab in itertools.chain(*self.slabs):
            slab[target, :, :width] = slab[source, :, :width]
        self.lengths[target] = self.lengths[source]
        self.lengths[len(survivors) : self.count] = 0
        self.count = len(survivors)

    def _slab(self, like: Tensor) -> Tensor:
        kind = like.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
        shape = (self.rows, like.shape[1], self.columns, like.shape[3])
        return torch.zeros(shape, dtype=dtype, device=like.device)


class RecomputedRows:
    """The same sequences as token ids alone: every step runs all of them from the start."""

    def __init__(self, backbone: PreTrainedModel, *, rows: int, columns: int, pad_id: int) -> None:
        self.backbone, self.pad_id = backbone, pad_id
        self.count = 0
        self.ids = torch.full((rows, columns), pad_id, device=backbone.device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=backbone.device)

    def enter(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """As `CachedRows.enter`."""
        ids, lengths = _padded(prompts, self.pad_id, self.ids.device)
        source = _repeated(copies, ids.device)
        new = slice(self.count, self.count + len(source))
        self.ids[new, : ids.shape[1]] = ids[source]
        self.lengths[new] = lengths[source]
        self.count += len(source)
        return self._states(new)

    def step(self, tokens: Tensor) -> Tensor:
        """As `CachedRows.step`."""
        busy = slice(0, self.count)
        self.ids[torch.arange(self.count, device=tokens.device), self.lengths[busy]] = tokens
        self.lengths[busy] += 1
        return self._states(busy)

    def keep(self, survivors: Tensor) -> None:
        """As `CachedRows.keep`."""
        self.ids[: len(survivors)] = self.ids[survivors]
        self.lengths[: len(survivors)] = self.lengths[survivors]
        self.count = len(survivors)

    def _states(self, rows: slice) -> Tensor:
        lengths = self.lengths[rows]
        ids = self.ids[rows, : int(lengths.max())]
        output = self.backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return output.last_hidden_state[torch.arange(len(ids), device=ids.device), lengths - 1]


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
        self.eos_ids = torch.tensor(sorted(eos_ids), device=network.device)
        self.context = context_of(network)
        self.rows_type = CachedRows
        if reason := self._cache_fault():
            LOG.warning("%s generates without a cache: %s", type(network).__name__, reason)
            self.rows_type = RecomputedRows

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
        assert prompts, "something to answer"
        sheet = _Sheet.blank(
            limits=[self._room(prompt, max_tokens) for prompt in prompts for _ in range(k)],
            seeds=_seeds(prompts, k, seed),
            device=self.network.device,
        )
        with torch.inference_mode(), evaluating(self.network), self.autocast():
            self._fill(sheet, prompts, k, min(rows, len(prompts) * k), temperature, top_p)
        if not torch.isfinite(sheet.logprobs).all():
            raise FloatingPointError("the policy's logits are not finite: its training diverged")
        return self._rollouts(sheet, prompts, k)

    def _fill(
        self,
        sheet: "_Sheet",
        prompts: Sequence[TokenPrompt],
        k: int,
        rows: int,
        temperature: float,
        top_p: float,
    ) -> None:
        longest = max(len(prompt.ids) for prompt in prompts) + sheet.tokens.shape[1]
        memory = self.rows_type(
            backbone_of(self.network), rows=rows, columns=longest, pad_id=self.pad_id
        )
        # Rows of like length share a batch when prompts enter by length.
        order = sorted(range(len(prompts)), key=lambda p: -len(prompts[p].ids))
        waiting = [prompt * k + copy for prompt in order for copy in range(k)]
        active = torch.empty(0, dtype=torch.long, device=self.network.device)
        states = torch.empty(0)
        while waiting or len(active):
            free = rows - len(active)
            if waiting and free >= min(len(waiting), _share(rows)):
                entering, waiting = waiting[:free], waiting[free:]
                copies = Counter(response // k for response in entering)
                entered = memory.enter([prompts[p].ids for p in copies], list(copies.values()))
                states = torch.cat([states, entered]) if len(active) else entered
                active = torch.cat([active, torch.tensor(entering, device=active.device)])
            busy = functional.pad(states, (0, 0, 0, max(0, _LEAST_ROWS - len(states))))
            logits = token_logits(self.network, busy, temperature=temperature)[: len(states)]
            if top_p < 1:
                logits = nucleus(logits, top_p)
            tokens = inverse_cdf(logits.softmax(-1), sheet.next_uniforms(active))
            sheet.write(active, tokens, selected_logprobs(logits, tokens))
            going = ~(torch.isin(tokens, self.eos_ids) | sheet.is_full(active))
            if not going.all():
                survivors = _closed_ranks(going)
                memory.keep(survivors)
                active, tokens = active[survivors], tokens[survivors]
            if len(active):
                states = memory.step(tokens)

    def _rollouts(
        self, sheet: "_Sheet", prompts: Sequence[TokenPrompt], k: int
    ) -> list[tuple[Rollout, ...]]:
        lengths = sheet.written.tolist()
        tokens, logprobs = sheet.tokens.tolist(), sheet.logprobs.tolist()
        ends = set(self.eos_ids.tolist())

        def rollout(prompt: TokenPrompt, row: int) -> Rollout:
            own = tuple(tokens[row][: lengths[row]])
            return Rollout(
                prompt=prompt,
                tokens=own,
                logprobs=tuple(logprobs[row][: lengths[row]]),
                finished=own[-1] in ends,
            )

        return [
            tuple(rollout(prompt, index * k + copy) for copy in range(k))
            for index, prompt in enumerate(prompts)
        ]

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

    def _cache_fault(self) -> str:
        """Why decoding from the cache differs from running whole sequences; empty if it does not."""
        backbone = backbone_of(self.network)
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(backbone.get_input_embeddings().weight.shape[0], (16,), generator=draw)
        with torch.inference_mode(), evaluating(self.network):
            try:
                cached, plain = (
                    _trial(kind(backbone, rows=4, columns=12, pad_id=self.pad_id), ids)
                    for kind in (CachedRows, RecomputedRows)
                )
            except Exception as error:  # whatever an architecture does with a cache it does not know
                return f"{type(error).__name__}: {error}"
        gap = relative_gap(cached, plain)
        return "" if gap < tolerance(self.network) else f"hidden states differ by {gap:.1e}"


def _trial(memory: CachedRows | RecomputedRows, ids: Tensor) -> Tensor:
    """States of three sequences, one of which leaves early and one of which enters late."""
    device = memory.lengths.device
    seen = [memory.enter([ids[:5].tolist(), ids[5:8].tolist()], [1, 2])]
    seen.append(memory.step(ids[8:11].to(device)))
    memory.keep(torch.tensor([2, 1], device=device))
    seen.append(memory.enter([ids[11:13].tolist()], [1]))
    seen.append(memory.step(ids[13:16].to(device)))
    return torch.cat(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """All responses of a call by number: tokens and log-probabilities [response, time] so far."""

    tokens: Tensor
    logprobs: Tensor
    uniforms: Tensor
    written: Tensor
    limits: Tensor

    @classmethod
    def blank(cls, *, limits: Sequence[int], seeds: Sequence[int], device: torch.device) -> "_Sheet":
        """Nothing written; uniform t of a response is number t of its own stream."""
        shape = (len(limits), max(limits))
        uniforms = np.stack(
            [np.random.Generator(np.random.Philox(key=seed)).random(shape[1]) for seed in seeds]
        )
        return cls(
            tokens=torch.zeros(shape, dtype=torch.long, device=device),
            logprobs=torch.zeros(shape, device=device),
            uniforms=torch.from_numpy(uniforms).to(device),
            written=torch.zeros(len(limits), dtype=torch.long, device=device),
            limits=torch.tensor(limits, device=device),
        )

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
    block = torch.searchsorted(upto, target, right=True)
    inside = blocks[torch.arange(rows, device=block.device), block[:, 0]].double().cumsum(-1)
    rest = target - (upto - mass).gather(1, block)
    rest = torch.minimum(rest, inside[:, -1:] * _BELOW_ONE)
    return (block * size + torch.searchsorted(inside, rest, right=True))[:, 0]


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits of the smallest set of likeliest tokens with mass top_p; -inf elsewhere (Holtzman 2020)."""
    ordered, tokens = logits.softmax(-1).sort(-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(-1, tokens, outside), -torch.inf)


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


def _share(rows: int) -> int:
    """How many rows have to be free before prompts enter: each entry costs a pass of its own."""
    return -(-rows // 4)


def _padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[prompt, column] ids, right-padded, and lengths."""
    lengths = [len(prompt) for prompt in prompts]
    width = max(lengths)
    ids = [[*prompt, *[pad_id] * (width - len(prompt))] for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(lengths, device=device)


def _repeated(copies: Sequence[int], device: torch.device) -> Tensor:
    """[0] * copies[0] + [1] * copies[1] + ..."""
    return torch.arange(len(copies), device=device).repeat_interleave(
        torch.tensor(copies, device=device)
    )
