"""In which order data is seen: a named permutation per epoch, so that resuming needs no state."""

import math

import numpy as np

from palate.maths.seeds import seed


def num_updates(rows: int, *, batch: int, epochs: float, at_most: int = 0) -> int:
    """Updates in `epochs` passes (0 < `at_most` bounds them); a pass may end in a smaller batch."""
    updates = max(1, math.ceil(epochs * math.ceil(rows / batch)))
    return min(updates, at_most or updates)


def split(rows: int, *, parts: int, run_seed: int) -> list[list[int]]:
    """A seeded permutation cut into `parts` pieces that differ by one row at most, none empty."""
    generator = np.random.Generator(np.random.Philox(run_seed))
    pieces = np.array_split(generator.permutation(rows), min(parts, rows))
    return [[int(i) for i in piece] for piece in pieces]


def batch_indices(rows: int, update: int, *, batch: int, run_seed: int) -> list[int]:
    """The rows of batch number `update`: each pass has its own seeded permutation."""
    per_epoch = math.ceil(rows / batch)
    epoch, position = divmod(update, per_epoch)
    generator = np.random.Generator(np.random.Philox(seed(run_seed, "order", epoch)))
    order = generator.permutation(rows)
    return [int(i) for i in order[position * batch : (position + 1) * batch]]
