"""Counted ratios: they add up to the clip fraction, are bounded, and exact after a resume."""

import pytest
import torch

from palate.algorithms.onpolicy import ALGORITHMS
from palate.config.common import OptimizerConfig
from palate.config.onpolicy import GrpoConfig, PpoConfig, ReinforceConfig, RlooConfig
from palate.store.errors import DataError
from palate.store.runs import RATIOS, StageDir
from palate.training.checkpoints import Checkpoints
from palate.training.ratios import RatioWatch
from palate.verify import enumeration
from palate.verify.loops import History, online_loop
from palate.verify.worlds import tabular_world
from tests.training.stops import Interrupted, StopsAt

RATE = OptimizerConfig(lr=0.3)
PPO = PpoConfig(k=4, steps=6, clip_low=0.1, missing_eos_penalty=0, optimizer=RATE)


def problem():
    return enumeration.problem(
        enumeration.tree(vocabulary=4, eos=3, length=3), prompts=4, beta=0.5, seed=1
    )


def counted(path, config, monitor=None):
    """The rows of a run of this config, and what it logged."""
    world, folder, monitor = tabular_world(problem()), StageDir(path / "01"), monitor or History()
    ratios = RatioWatch(folder, config)
    loop = online_loop(world, ratios.watching(ALGORITHMS[config.stage]), config, seed=5)
    loop.run(
        world.prompts,
        monitor=monitor,
        checkpoints=Checkpoints(path / "checkpoints", every=3),
        before=ratios.before,
        after=lambda done, step, total: ratios.after(step),
    )
    return folder.ratios(), monitor, world


@pytest.mark.parametrize(
    "config",
    [
        PPO,
        GrpoConfig(k=4, steps=3, minibatches=2, epochs=2, optimizer=RATE),
        GrpoConfig(preset="gspo", k=4, steps=3, minibatches=2, optimizer=RATE),
        ReinforceConfig(surrogate="clipped", epochs=2, k=4, steps=3, optimizer=RATE),
    ],
    ids=["ppo", "grpo", "gspo", "reinforce"],
)
def test_what_is_counted_as_clipped_is_the_clip_fraction(tmp_path, config):
    rows, monitor, _ = counted(tmp_path, config)
    tokens = monitor.values["response/length"]
    shares = monitor.values["policy/clip_fraction"]
    assert [row.step for row in rows] == list(range(config.steps))
    assert sum(row.clipped for row in rows) > 0
    for row, length, share in zip(rows, tokens, shares, strict=True):
        seen = length * config.k * 4 * config.epochs
        assert row.clipped == pytest.approx(share * seen, abs=1e-3 * seen)
        assert sum(row.raised) + sum(row.lowered) <= seen + 1e-3
        assert (row.low, row.high) == (config.clip_low, config.clip_high)


def test_a_single_update_leaves_all_ratios_at_one(tmp_path):
    config = PPO.model_copy(update={"epochs": 1, "minibatches": 1})
    for row in counted(tmp_path, config)[0]:
        assert sum(row.raised) == row.raised[9] > 0
        assert sum(row.lowered) == row.lowered[9] > 0


def test_methods_without_a_ratio_write_no_file(tmp_path):
    for number, config in enumerate((RlooConfig(steps=1), ReinforceConfig(steps=1))):
        assert counted(tmp_path / str(number), config)[0] == []


def test_long_runs_are_counted_twenty_times_and_at_their_end(tmp_path):
    rows, *_ = counted(tmp_path, PPO.model_copy(update={"steps": 44, "epochs": 1}))
    assert [row.step for row in rows] == [*range(0, 43, 3), 43]


def test_counting_changes_no_bit_of_the_training(tmp_path):
    _, _, world = counted(tmp_path, PPO)
    alone = tabular_world(problem())
    loop = online_loop(alone, ALGORITHMS["ppo"], PPO, seed=5)
    loop.run(alone.prompts, monitor=History(), checkpoints=Checkpoints(tmp_path / "two", every=3))
    assert torch.equal(alone.policy.table, world.policy.table)


def test_a_resumed_run_drops_what_the_lost_steps_counted_and_ends_with_the_same_bytes(tmp_path):
    counted(tmp_path / "whole", PPO)
    with pytest.raises(Interrupted):
        counted(tmp_path / "broken", PPO, StopsAt(5))
    with pytest.raises(Interrupted):
        counted(tmp_path / "broken", PPO, StopsAt(4))
    counted(tmp_path / "broken", PPO)
    whole, broken = (tmp_path / n / "01" / RATIOS for n in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


def test_a_damaged_row_is_named(tmp_path):
    folder = StageDir(tmp_path)
    folder.write_text(RATIOS, '{"step": 1}\n')
    with pytest.raises(DataError, match=r"ratios\.jsonl.*row 1"):
        folder.ratios()
