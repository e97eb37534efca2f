"""The loop over fixed data: the right losses, held-out rows, stops, and resuming to the bit."""

import os
import signal
from pathlib import Path

import pytest
import torch

from palate.algorithms import sft
from palate.batches.groups import TokenGroup
from palate.batches.padding import fitted, response_mask
from palate.config.common import OptimizerConfig
from palate.models.roles import PlainPolicyRole
from palate.training.checkpoints import Checkpoints
from palate.training.examples import Examples
from palate.training.fit import fit
from palate.training.held_out import HeldOut, Measuring
from palate.training.learner import LocalLearner, read_all
from palate.training.order import batch_indices
from palate.training.stops import Stopped
from palate.verify.loops import History
from tests.models.tiny import BOS, EOS, tiny_network
from tests.training.stops import Interrupted, StopsAt


def rows(start: int, count: int) -> list[TokenGroup]:
    return [
        TokenGroup(
            id=str(i),
            prompt=(BOS, 5 + i),
            responses=((*range(6, 7 + i), EOS),),
            masks=((*(t % (2 + i) != 1 for t in range(1 + i)), True),),
        )
        for i in range(start, start + count)
    ]


def imitated(groups: list[TokenGroup]) -> Examples:
    def loss_for(batch):
        def loss(outputs, indices):
            mask = response_mask([groups[batch[i]] for i in indices])
            return sft.loss(
                outputs, fitted(mask, outputs.logprobs.shape[1]), reduction="token_mean"
            )

        return loss

    return Examples(groups, loss_for)


GROUPS = rows(0, 5)
WATCHED = Measuring(every=2, rows=0, keep="best", patience=3)
UPDATES = 9


def held_out(measuring: Measuring, number: int = 4) -> HeldOut:
    return HeldOut(examples=imitated(rows(3, number)), measuring=measuring, run_seed=7)


def run(
    family: str, folder: Path, monitor, held: HeldOut | None = None, lr: float = 1e-2
) -> LocalLearner:
    """Three passes over five groups in batches of two: nine updates, a checkpoint after each 4."""
    role = PlainPolicyRole(tiny_network(family), layout="tree", temperature=1.0)
    config = OptimizerConfig(lr=lr, warmup_fraction=0.3)
    learner = LocalLearner(role, config, total_updates=UPDATES, budget=32)
    checkpoints = Checkpoints(folder, every=4)
    fit(
        learner,
        imitated(GROUPS),
        batch=2,
        run_seed=7,
        monitor=monitor,
        checkpoints=checkpoints,
        held=held,
    )
    return learner


def same(one: LocalLearner, other: LocalLearner) -> bool:
    pairs = zip(one.weights().values(), other.weights().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Lines(History):
    """A monitor that keeps the number of every line, and may stop at one."""

    def __init__(self, last: int = -1) -> None:
        super().__init__()
        self.last, self.lines = last, {}

    def log(self, step, total, values):
        self.lines[step] = dict(values)
        if step == self.last:
            raise Interrupted


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_resuming_in_the_middle_of_a_pass_equals_never_stopping(family, tmp_path):
    whole, stopped, rest = History(), StopsAt(6), History()
    expected = run(family, tmp_path / "whole", whole)
    with pytest.raises(Interrupted):
        run(family, tmp_path / "broken", stopped)
    resumed = run(family, tmp_path / "broken", rest)
    assert same(resumed, expected)
    assert rest.values == {name: values[4:] for name, values in whole.values.items()}


@pytest.mark.parametrize("last", range(UPDATES))
def test_held_out_rows_the_best_weights_and_patience_resume_to_the_bit(last, tmp_path):
    whole, rest = Lines(), Lines()
    one, other = held_out(WATCHED), held_out(WATCHED)
    expected = run("gpt2", tmp_path / "whole", whole, one, lr=0.1)
    assert 0 < one.best_update < expected.updates < UPDATES  # neither end of training is best
    stopped = Lines(last)
    with pytest.raises(Interrupted):
        run("gpt2", tmp_path / "broken", stopped, held_out(WATCHED), lr=0.1)
    resumed = run("gpt2", tmp_path / "broken", rest, other, lr=0.1)
    assert same(resumed, expected)
    assert {**stopped.lines, **rest.lines} == whole.lines
    assert other.scalars() == one.scalars()


def test_the_loss_is_that_of_the_batch(tmp_path):
    monitor = History()
    run("gpt2", tmp_path, monitor)
    rows = batch_indices(5, 0, batch=2, run_seed=7)
    assert rows != sorted(rows)
    assert monitor.values["sft/nll"][0] == pytest.approx(by_hand([GROUPS[i] for i in rows]))


def by_hand(groups: list[TokenGroup], network=None) -> float:
    """The mean negative log-likelihood of the counted tokens, one row at a time."""
    role = PlainPolicyRole(network or tiny_network("gpt2"), layout="rows", temperature=1.0)
    logprobs = [read_all(role, [group], budget=10_000).logprobs[0] for group in groups]
    kept = [row[torch.tensor(g.masks[0])] for row, g in zip(logprobs, groups, strict=True)]
    return -float(torch.cat(kept).double().mean())


def test_the_held_out_loss_is_that_of_the_weights_before_the_update_and_of_the_last_ones(tmp_path):
    lines = Lines()
    measuring = Measuring(every=4, rows=0, keep="last", patience=0)
    held = held_out(measuring)
    learner = run("gpt2", tmp_path, lines, held)
    measured = {step: line["held_out/nll"] for step, line in lines.lines.items() if len(line) != 3}
    assert list(measured) == [0, 4, 8, 9]
    assert lines.lines[9].keys() == {"held_out/nll"}
    assert measured[0] == pytest.approx(by_hand(rows(3, 4)), rel=1e-5)
    assert measured[9] == pytest.approx(by_hand(rows(3, 4), learner.role.network), rel=1e-5)
    assert measured[9] != measured[8] != measured[4] != measured[0]


def test_some_held_out_rows_are_the_same_ones_every_time(tmp_path):
    lines = Lines()
    few = held_out(Measuring(every=1, rows=2, keep="last", patience=0))
    run("gpt2", tmp_path, lines, few, lr=0.0)
    values = {line["held_out/nll"] for line in lines.lines.values()}
    pairs = [by_hand([a, b]) for a in rows(3, 4) for b in rows(3, 4) if a.id < b.id]
    (value,) = values
    assert value in [pytest.approx(pair, rel=1e-5) for pair in pairs]


def test_measuring_changes_no_bit_of_the_training(tmp_path):
    held = held_out(Measuring(every=1, rows=0, keep="last", patience=0))
    measured = run("gpt2", tmp_path / "one", History(), held)
    assert same(measured, run("gpt2", tmp_path / "two", History()))


def test_the_best_weights_are_those_of_the_lowest_held_out_loss(tmp_path):
    lines = Lines()
    held = held_out(Measuring(every=2, rows=0, keep="best", patience=0))
    learner = run("gpt2", tmp_path, lines, held, lr=0.1)
    losses = {step: line.get("held_out/nll") for step, line in lines.lines.items()}
    losses = {step: loss for step, loss in losses.items() if loss is not None}
    best = min(losses, key=losses.__getitem__)
    assert (held.best_update, held.best) == (best, losses[best])
    assert best < UPDATES
    assert by_hand(rows(3, 4), learner.role.network) == pytest.approx(losses[best], rel=1e-5)


def test_training_ends_after_as_many_measurements_without_a_new_best_as_patience(tmp_path):
    lines = Lines()
    held = held_out(Measuring(every=1, rows=0, keep="last", patience=2))
    learner = run("gpt2", tmp_path, lines, held, lr=0.0)
    assert (learner.updates, held.best_update, held.waited) == (2, 0, 2)
    assert list(lines.lines) == [0, 1, 2]


def test_patience_begins_anew_with_every_new_best(tmp_path):
    lines = Lines()
    held = held_out(Measuring(every=1, rows=0, keep="last", patience=3))
    run("gpt2", tmp_path, lines, held, lr=0.02)
    losses = [line["held_out/nll"] for line in lines.lines.values()]
    worse = [loss > min(losses[:step]) for step, loss in enumerate(losses) if step]
    assert sum(worse) >= 3
    assert held.best == min(losses)
    assert list(lines.lines) == list(range(UPDATES + 1))


class Asks(Lines):
    """Somebody asks to stop while update number `last` is made."""

    def __init__(self, last: int, number: int) -> None:
        super().__init__()
        self.at, self.number = last, number

    def log(self, step, total, values):
        super().log(step, total, values)
        if step == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("last", [0, 6, UPDATES - 1])
def test_who_asks_to_stop_gets_a_checkpoint_of_the_update_that_is_done(number, last, tmp_path):
    before = signal.getsignal(number)
    expected = run("gpt2", tmp_path / "whole", History(), held_out(WATCHED))
    with pytest.raises(Stopped) as stopped:
        run("gpt2", tmp_path / "broken", Asks(last, number), held_out(WATCHED))
    assert stopped.value.number == number
    assert signal.getsignal(number) is before
    rest = Lines()
    resumed = run("gpt2", tmp_path / "broken", rest, held_out(WATCHED))
    assert min(rest.lines) == last + 1
    assert same(resumed, expected)


def test_who_asks_twice_does_not_wait(tmp_path):
    class Impatient(Asks):
        def log(self, step, total, values):
            super().log(step, total, values)
            super().log(step, total, values)

    with pytest.raises(Stopped):
        run("gpt2", tmp_path, Impatient(2, signal.SIGINT))
    assert Checkpoints(tmp_path, every=4).latest() is None
