"""Ragged rows to right-padded tensors, in the one place where that happens."""

from collections.abc import Sequence

import torch

from palate.batches.groups import TokenGroup


def padded(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> torch.Tensor:
    """[response, time] with zeros (False) behind each row; at least one column."""
    width = max([1, *map(len, rows)])
    out = torch.zeros((len(rows), width), dtype=dtype)
    for index, row in enumerate(rows):
        if row:
            out[index, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def response_mask(groups: Sequence[TokenGroup]) -> torch.Tensor:
    """[response, time] over all responses of all groups: True where a token counts."""
    return padded([mask for group in groups for mask in group.masks], torch.bool)


def response_rows(groups: Sequence[TokenGroup], indices: Sequence[int]) -> list[int]:
    """Rows, in a tensor over all responses of all groups, of the responses of some groups."""
    offsets = [0]
    for group in groups:
        offsets.append(offsets[-1] + group.k)
    return [row for index in indices for row in range(offsets[index], offsets[index + 1])]


def fitted(tensor: torch.Tensor, time: int) -> torch.Tensor:
    """The same [response, time] tensor cut or zero-extended to `time` columns."""
    if tensor.shape[1] >= time:
        return tensor[:, :time]
    return torch.nn.functional.pad(tensor, (0, time - tensor.shape[1]))
