"""A changing set of sequences that grow by one token per step: with a key-value cache, and without.

Both kinds hold rows 0 to count - 1. `enter` appends rows, `step` adds a token to every row, `keep`
drops rows; the first two return the final hidden states [row, width] behind the last token.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedModel

from palate.models.forward import attention_masks, relative_gap, tolerance
from palate.models.layout import few, rounded_up
from palate.models.load import context_of

LEAST_ROWS = 4
"""Matrix kernels on CPUs round alike from four rows on: with fewer, padding rows are added."""

_COLUMNS = 16
"""Attention kernels round alike where widths are multiples of this."""


def computed(rows: int) -> int:
    """How many rows to compute for so many: enough to round alike, in few shapes."""
    return max(LEAST_ROWS, few(rows))


class CachedRows(Cache):
    """Keys and values stay in place: a step writes one column of each row, `keep` moves few rows.

    Columns at and behind a row's length hold leftovers that its mask hides. On CPUs a row's bits do
    not depend on the other rows.
    """

    def __init__(self, backbone: PreTrainedModel, *, rows: int, columns: int, pad_id: int) -> None:
        super().__init__(layers=[])
        self.backbone, self.pad_id = backbone, pad_id
        self.rows, self.columns = max(rows, LEAST_ROWS), rounded_up(columns, _COLUMNS)
        self.count = self.width = 0
        self.lengths = torch.zeros(self.rows, dtype=torch.long, device=backbone.device)
        self.at = self.row_numbers = self.lengths[:0]
        self.slabs: list[tuple[Tensor, Tensor]] = []

    def enter(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """Run each prompt once and append its copies."""
        ids, lengths = _padded(prompts, self.pad_id, self.backbone)
        fresh = DynamicCache()
        output = self.backbone(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=fresh,
            use_cache=True,
        )
        layers = [
            (keys, values) for keys, values, _ in fresh if keys is not None and values is not None
        ]
        self.slabs = self.slabs or [
            (self._slab(keys), self._slab(values)) for keys, values in layers
        ]
        source = _repeated(copies, ids.device)
        new = slice(self.count, self.count + len(source))
        for slab, prefix in zip(
            itertools.chain(*self.slabs), itertools.chain(*layers), strict=True
        ):
            slab[new, :, : ids.shape[1]] = prefix[source]
        self.lengths[new] = lengths[source]
        self.count += len(source)
        states = output.last_hidden_state
        return states[torch.arange(len(states), device=ids.device), lengths - 1][source]

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row."""
        busy = min(self.rows, computed(self.count))
        self.at = self.lengths[:busy].clone()
        self.row_numbers = torch.arange(busy, device=tokens.device)
        self.lengths[: self.count] += 1
        self.width = rounded_up(int(self.at.max()) + 1, _COLUMNS)
        columns = torch.arange(self.width, device=tokens.device)
        visible = columns <= self.at[:, None, None]
        output = self.backbone(
            input_ids=functional.pad(tokens, (0, busy - self.count))[:, None],
            attention_mask=attention_masks(self.backbone, visible, self.at[:, None], columns[None]),
            position_ids=self.at[:, None],
            past_key_values=self,
            use_cache=True,
        )
        return output.last_hidden_state[: self.count, 0]

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor]:
        """transformers' hook in every layer: write the new column, return views of all columns."""
        keys, values = self.slabs[layer_idx]
        keys[self.row_numbers, :, self.at] = key_states[:, :, 0].to(keys.dtype)
        values[self.row_numbers, :, self.at] = value_states[:, :, 0].to(values.dtype)
        busy = len(self.row_numbers)
        return keys[:busy, :, : self.width], values[:busy, :, : self.width]

    def keep(self, survivors: Tensor) -> None:
        """Row r becomes what row survivors[r] >= r was; all other rows leave."""
        target = (survivors != torch.arange(len(survivors), device=survivors.device)).nonzero()[
            :, 0
        ]
        source = survivors[target]
        width = int(self.lengths[: self.count].max())
        for slab in itertools.chain(*self.slabs):
            slab[target, :, :width] = slab[source, :, :width]
        self.lengths[target] = self.lengths[source]
        self.lengths[len(survivors) : self.count] = 0
        self.count = len(survivors)

    def _slab(self, like: Tensor) -> Tensor:
        """Zeros, since a hidden column has to be finite, in the precision that attention uses."""
        kind = like.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
        shape = (self.rows, like.shape[1], self.columns, like.shape[3])
        return torch.zeros(shape, dtype=dtype, device=like.device)


class RecomputedRows:
    """The tokens alone: a step runs all sequences from the start, which every architecture can."""

    def __init__(self, backbone: PreTrainedModel, *, rows: int, columns: int, pad_id: int) -> None:
        self.backbone, self.pad_id = backbone, pad_id
        self.count = 0
        self.ids = torch.full((rows, rounded_up(columns, _COLUMNS)), pad_id, device=backbone.device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=backbone.device)

    def enter(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """Append copies of each prompt."""
        ids, lengths = _padded(prompts, self.pad_id, self.backbone)
        source = _repeated(copies, ids.device)
        new = slice(self.count, self.count + len(source))
        self.ids[new, : ids.shape[1]] = ids[source]
        self.lengths[new] = lengths[source]
        self.count += len(source)
        return self._states(new)

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row."""
        busy = slice(0, self.count)
        self.ids[torch.arange(self.count, device=tokens.device), self.lengths[busy]] = tokens
        self.lengths[busy] += 1
        return self._states(busy)

    def keep(self, survivors: Tensor) -> None:
        """Row r becomes what row survivors[r] was; all other rows leave."""
        self.ids[: len(survivors)] = self.ids[survivors]
        self.lengths[: len(survivors)] = self.lengths[survivors]
        self.count = len(survivors)

    def _states(self, rows: slice) -> Tensor:
        lengths = self.lengths[rows]
        ids = self.ids[rows, : int(lengths.max())]
        output = self.backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return output.last_hidden_state[torch.arange(len(ids), device=ids.device), lengths - 1]


def cache_fault(backbone: PreTrainedModel) -> str:
    """Why decoding from the cache is not running whole sequences; empty where it is."""
    draw = torch.Generator().manual_seed(0)
    vocabulary = backbone.config.get_text_config().vocab_size
    ids = torch.randint(vocabulary, (16,), generator=draw).tolist()
    plain = _trial(RecomputedRows(backbone, rows=4, columns=12, pad_id=0), ids)
    try:
        cached = _trial(CachedRows(backbone, rows=4, columns=12, pad_id=0), ids)
    except Exception as error:  # whatever an architecture does with a cache that it does not know
        return f"{type(error).__name__}: {error}"
    gap = relative_gap(cached, plain)
    return "" if gap < tolerance(backbone) else f"hidden states differ by {gap:.1e} of their size"


def _trial(memory: CachedRows | RecomputedRows, ids: list[int]) -> Tensor:
    """States while one of three sequences leaves early and another enters late."""
    tokens = torch.tensor(ids, device=memory.lengths.device)
    seen = [memory.enter([ids[:5], ids[5:8]], [1, 2]), memory.step(tokens[8:11])]
    memory.keep(tokens.new_tensor([2, 1]))
    seen += [memory.enter([ids[11:13]], [1]), memory.step(tokens[13:16])]
    return torch.cat(seen)


def _padded(
    prompts: Sequence[Sequence[int]], pad_id: int, backbone: PreTrainedModel
) -> tuple[Tensor, Tensor]:
    """[prompt, column] ids, right-padded, and lengths."""
    lengths = [len(prompt) for prompt in prompts]
    width = max(*lengths, min(rounded_up(max(lengths), _COLUMNS), context_of(backbone) or 0))
    ids = [[*prompt, *[pad_id] * (width - len(prompt))] for prompt in prompts]
    return (
        torch.tensor(ids, device=backbone.device),
        torch.tensor(lengths, device=backbone.device),
    )


def _repeated(copies: Sequence[int], device: torch.device) -> Tensor:
    """[0] * copies[0] + [1] * copies[1] + ..."""
    numbers = torch.arange(len(copies), device=device)
    return numbers.repeat_interleave(torch.tensor(copies, device=device))
