"""Token groups laid out in rows for one forward pass: shared-prompt trees, or one row per response.

Under "tree" a row holds `[prompt | response 1 | ... | response k]`, positions restart after the
prompt, and a response sees the prompt and itself only; short trees share a row. Under "rows" each
row is a prompt and one response, right-padded, for which plain causal attention needs no mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from palate.batches.groups import TokenGroup, token_group
from palate.maths.shapes import TokenIds, TokenMask

Layout = Literal["tree", "rows"]

_LAYOUTS: tuple[Layout, Layout] = ("tree", "rows")

_STEP = 16
"""Widths are multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Groups as rows of token ids; `predicts` and `last` index the flattened [row, column] axis.

    `segments` numbers prompts, responses and paddings, `roots` is the segment of the own prompt.
    `predicts[i, t]` is where token t of response i is predicted: at the token before it, the last
    prompt token for t = 0. `mask` is True where a response has a token; `last` is its last one.

    >>> group = TokenGroup(id="p", prompt=(5, 6), responses=((7, 2),), masks=((True, True),))
    >>> lay_out([group], layout="tree", pad_id=0, device=torch.device("cpu")).predicts.tolist()
    [[1, 2]]
    """

    layout: Layout
    ids: Tensor
    positions: Tensor
    segments: Tensor
    roots: Tensor
    predicts: TokenIds
    last: Tensor
    targets: TokenIds
    mask: TokenMask

    def visible(self) -> Tensor:
        """[row, query, key]: True where the query may attend to the key."""
        order = torch.arange(self.ids.shape[1], device=self.ids.device)
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        related = (key == query) | (key == self.roots[:, :, None])
        return related & (order <= order[:, None])


def lay_out(
    groups: Sequence[TokenGroup],
    *,
    layout: Layout,
    pad_id: int,
    device: torch.device,
    context: int | None = None,
) -> Rows:
    """The rows of some groups; responses keep the groups' order. `pad_id` may be any known id.

    Rows are padded to one of few shapes; `context` is the longest row that the network takes.
    """
    trees = _trees(groups, layout)
    width, shelves = _arranged(trees, layout, context)
    placed = _placed(trees, shelves, width, pad_id)
    cells = torch.tensor(placed.cells, device=device).view(len(shelves), width, 4)
    ids, positions, segments, roots = cells.unbind(-1)
    start, length, before = torch.tensor(placed.spans, device=device)[:, :, None].unbind(1)
    time = torch.arange(max(1, int(length.max())), device=device)
    mask = time < length
    at = torch.where(mask, start + time, before)
    return Rows(
        layout=layout,
        ids=ids,
        positions=positions,
        segments=segments,
        roots=roots,
        predicts=torch.where(mask & (time > 0), at - 1, before),
        last=at.gather(1, (length - 1).clamp(min=0))[:, 0],
        targets=ids.flatten()[at],
        mask=mask,
    )


def planned_shapes(
    groups: Sequence[TokenGroup], *, budget: int, layout: Layout
) -> list[tuple[int, int]]:
    """(rows, width), padding included, of every micro-batch of one update over these groups."""
    shapes: list[tuple[int, int]] = []
    for indices in plan(groups, budget=budget, layout=layout):
        part = [groups[i] for i in indices]
        kind = choose(part, layout=layout)
        width, shelves = _arranged(_trees(part, kind), kind, None)
        shapes.append((len(shelves), width))
    return shapes


def _arranged(
    trees: Sequence[TokenGroup], layout: Layout, context: int | None
) -> tuple[int, list[list[int]]]:
    """The width of the rows, and which trees are in which row."""
    sizes = [tree.num_tokens for tree in trees]
    longest = max(sizes)
    narrow = max(longest, min(_wide(longest), context or _wide(longest)))
    if layout == "rows":
        return narrow, _filled([[index] for index in range(len(trees))])
    # Wider rows, up to three times the longest tree, are packed more tightly.
    wider = (_wide(min(sum(sizes), longest * quarters // 4)) for quarters in range(5, 13))
    widths = {narrow} | {width for width in wider if context is None or width <= context}
    packed = {width: _filled(_shelved(sizes, width)) for width in sorted(widths)}
    width = min(packed, key=lambda width: len(packed[width]) * width * _per_cell(width, layout))
    return width, packed[width]


def _filled(shelves: list[list[int]]) -> list[list[int]]:
    """Rows, and empty ones up to one of few counts."""
    return shelves + [[]] * (few(len(shelves)) - len(shelves))


def num_widths(longest: int) -> int:
    """How many widths there are for rows of at most so many tokens."""
    return len({_wide(count) for count in range(1, longest + 1, _STEP)})


def rounded_up(count: int, step: int) -> int:
    """The least multiple of a step that is not below a count."""
    return -(-count // step) * step


def few(count: int, *, steps: int = 4) -> int:
    """A count rounded up by less than one part in `steps`, a power of two: so many numbers are
    left between powers of two.

    >>> [few(n) for n in (3, 8, 9, 17, 100)], few(100, steps=8)
    ([3, 8, 10, 20, 112], 104)
    """
    return rounded_up(count, max(1, (1 << (count - 1).bit_length()) // (2 * steps)))


def _wide(longest: int) -> int:
    """The width of rows of which the longest has so many tokens: CPU kernels are compiled, and
    kept, per shape."""
    return rounded_up(few(longest, steps=8), _STEP)


def plan(groups: Sequence[TokenGroup], *, budget: int, layout: Layout) -> list[list[int]]:
    """Micro-batches of group indices whose padded area (rows x longest row) is within the budget.

    Groups of like length go together, the longest first; a group over the budget goes alone.
    `layout` is the most that the network can take; what each group gets is `choose`'s business.
    """
    batches: list[list[int]] = []
    for kind in _LAYOUTS:
        widths = {
            index: _wide(_widest(group, kind))
            for index, group in enumerate(groups)
            if choose([group], layout=layout) == kind
        }
        rows = widest = 0
        for index in sorted(widths, key=lambda i: -widths[i]):
            more = 1 if kind == "tree" else groups[index].k
            if rows == 0 or few(rows + more) * widest > budget:
                batches.append([])
                rows, widest = 0, widths[index]
            batches[-1].append(index)
            rows += more
    return batches


def choose(groups: Sequence[TokenGroup], *, layout: Layout) -> Layout:
    """The cheaper layout of some groups among those that the network can take."""
    if layout == "rows":
        return "rows"
    tree, rows = (_cost(groups, kind) for kind in _LAYOUTS)
    return "tree" if tree < rows else "rows"


def _trees(groups: Sequence[TokenGroup], layout: Layout) -> list[TokenGroup]:
    """Under "rows", every response becomes a group of its own."""
    if layout == "tree":
        return list(groups)
    return [token_group(g.id, g.prompt, (response,)) for g in groups for response in g.responses]


def _cost(groups: Sequence[TokenGroup], layout: Layout) -> float:
    """Time of a layout, in tokens through the linear layers.

    Trees are packed, the others padded to the longest. A tree's mask costs a quarter of the linear
    layers.
    """
    sizes = [tree.num_tokens for tree in _trees(groups, layout)]
    width = max(sizes)
    cells = 1.25 * sum(sizes) if layout == "tree" else len(sizes) * width
    return cells * _per_cell(width, layout)


def _per_cell(width: int, layout: Layout) -> float:
    """Time of a token in a row of this width, in passes through the linear layers.

    In a row of `even` tokens attention takes as long as they do: sooner with a mask, since kernels
    then cannot skip the future. Fitted to a model of width 128 on a CPU
    (`benchmarks/forward.py`), where choices matter most: for wider ones attention is a small part.
    """
    even = 800 if layout == "tree" else 2048
    return 1 + width / even


def _widest(group: TokenGroup, layout: Layout) -> int:
    return max(tree.num_tokens for tree in _trees([group], layout))


@dataclass(frozen=True, slots=True)
class _Placed:
    """Cells (id, position, segment, root) row by row, and where each response lies in them:
    (its start, its length, the last prompt token)."""

    cells: list[tuple[int, int, int, int]]
    spans: list[tuple[int, int, int]]


def _placed(
    trees: Sequence[TokenGroup], shelves: Sequence[Sequence[int]], width: int, pad_id: int
) -> _Placed:
    """Prompts, responses and padding, one after the other; a segment is named by its first cell."""
    cells: list[tuple[int, int, int, int]] = []

    def place(tokens: Sequence[int], position: int, root: int) -> int:
        start = len(cells)
        cells.extend((token, position + t, start, root) for t, token in enumerate(tokens))
        return start

    spans: dict[int, list[tuple[int, int, int]]] = {}
    for row, shelf in enumerate(shelves, start=1):
        for index in shelf:
            tree = trees[index]
            root = place(tree.prompt, 0, len(cells))
            before = len(cells) - 1
            spans[index] = [
                (place(response, len(tree.prompt), root), len(response), before)
                for response in tree.responses
            ]
        cells.extend([(pad_id, 0, len(cells), len(cells))] * (row * width - len(cells)))
    return _Placed(cells, [span for index in range(len(trees)) for span in spans[index]])


def _shelved(sizes: Sequence[int], width: int) -> list[list[int]]:
    """Indices of sizes packed into rows of a width, first fit by decreasing size (Johnson 1973)."""
    shelves: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        size = sizes[index]
        shelf = next((s for s, left in enumerate(room) if left >= size), len(room))
        if shelf == len(room):
            shelves.append([])
            room.append(width)
        shelves[shelf].append(index)
        room[shelf] -= size
    return shelves
