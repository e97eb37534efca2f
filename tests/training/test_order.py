"""Every pass sees every row once, in an order of its own that a rerun repeats."""

import pytest

from palate.training.order import batch_indices, num_updates


def batches(epoch: int, *, seed: int = 3) -> list[list[int]]:
    return [batch_indices(11, 3 * epoch + i, batch=4, run_seed=seed) for i in range(3)]


def order(epoch: int, *, seed: int = 3) -> list[int]:
    return [row for batch in batches(epoch, seed=seed) for row in batch]


def test_a_pass_holds_every_row_once_and_its_last_batch_may_be_smaller():
    for epoch in range(3):
        assert [len(batch) for batch in batches(epoch)] == [4, 4, 3]
        assert sorted(order(epoch)) == list(range(11))


def test_orders_differ_between_passes_and_seeds_and_never_between_reruns():
    orders = [order(epoch) for epoch in range(3)]
    assert list(range(11)) not in orders
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert order(0, seed=4) != orders[0]
    assert order(0) == orders[0]


@pytest.mark.parametrize(("epochs", "updates"), [(1.0, 3), (2.0, 6), (0.5, 2), (0.01, 1)])
def test_updates_of_some_passes(epochs, updates):
    assert num_updates(11, batch=4, epochs=epochs) == updates
