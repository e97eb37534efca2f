"""The online loop: whole passes, fresh prompts for dead groups, a reference that moves."""

from dataclasses import replace

import pytest
import torch

from palate.algorithms.onpolicy import ALGORITHMS
from palate.config.common import OptimizerConfig
from palate.config.stages import GrpoConfig, ReinforceConfig, RlooConfig
from palate.training.checkpoints import Checkpoints
from palate.training.order import split
from palate.verify import enumeration
from palate.verify.loops import History, online_loop
from palate.verify.worlds import tabular_world

RATE = OptimizerConfig(lr=0.05)
EMA = RlooConfig(
    k=4, steps=6, reference="ema", reference_decay=0.7, missing_eos_penalty=0, optimizer=RATE
)


class Interrupted(Exception):
    pass


class StopsAt(History):
    def __init__(self, step):
        super().__init__()
        self.last = step

    def log(self, step, total, values):
        super().log(step, total, values)
        if step == self.last:
            raise Interrupted


def run(world, config, folder, monitor=None, every=3):
    loop = online_loop(world, ALGORITHMS[config.stage], config, seed=5)
    history = monitor or History()
    checkpoints = Checkpoints(folder, every=every)
    return loop, loop.run(world.prompts, monitor=history, checkpoints=checkpoints), history


def test_a_pass_is_split_into_parts_that_differ_by_one_and_hold_every_row_once():
    parts = split(11, parts=4, run_seed=3)
    assert [len(part) for part in parts] == [3, 3, 3, 2]
    assert sorted(row for part in parts for row in part) == list(range(11))
    assert parts != split(11, parts=4, run_seed=4)
    assert [len(part) for part in split(2, parts=5, run_seed=0)] == [1, 1]


def test_minibatches_that_do_not_divide_the_groups_make_no_extra_pass(tmp_path):
    """Five groups in four minibatches are parts of 2, 1, 1, 1, twice: eight updates a step."""
    problem = enumeration.problem(
        enumeration.tree(vocabulary=3, eos=2, length=2), prompts=5, beta=0.5, seed=0
    )
    world = tabular_world(problem)
    config = GrpoConfig(k=2, steps=3, epochs=2, minibatches=4, optimizer=RATE)
    loop, _, _ = run(world, config, tmp_path)
    assert loop.actors.policy.updates == 3 * 2 * 4 == loop.actors.policy.total_updates


def test_a_moving_reference_is_the_average_of_the_policies_after_each_step(tmp_path):
    world = tabular_world(enumeration.tabular())
    average = world.policy.table.detach().clone()
    loop = online_loop(world, ALGORITHMS["rloo"], EMA, seed=5)
    for step in range(3):
        loop.step(world.prompts, step)
        average = 0.7 * average + 0.3 * world.policy.table.detach()
        torch.testing.assert_close(world.reference.table.detach(), average)
    assert not torch.equal(average, world.policy.table.detach())


def test_resuming_with_a_moving_reference_equals_never_stopping(tmp_path):
    whole = tabular_world(enumeration.tabular())
    _, _, expected = run(whole, EMA, tmp_path / "whole")
    broken = tabular_world(enumeration.tabular())
    with pytest.raises(Interrupted):
        run(broken, EMA, tmp_path / "broken", StopsAt(4))
    resumed = tabular_world(enumeration.tabular())
    _, _, rest = run(resumed, EMA, tmp_path / "broken")
    assert torch.equal(resumed.policy.table, whole.policy.table)
    assert torch.equal(resumed.reference.table, whole.reference.table)
    assert not torch.equal(resumed.reference.table.detach(), enumeration.tabular().ref_logits)
    assert rest.values == {name: values[3:] for name, values in expected.values.items()}


def half_dead():
    """Eight prompts; to those with even numbers every response is equally good."""
    problem = enumeration.problem(
        enumeration.tree(vocabulary=4, eos=3, length=2), prompts=8, beta=0.5, seed=1
    )
    reward = problem.reward.clone()
    reward[::2] = 0.25
    return tabular_world(replace(problem, reward=reward))


def dapo(**choices):
    chosen = {"resample_rounds": 9, "batch_prompts": 4, "minibatches": 1, "steps": 4} | choices
    return GrpoConfig(
        preset="dapo", overlong_fraction=0, missing_eos_penalty=0, optimizer=RATE, **chosen
    )


def test_groups_of_equal_rewards_give_way_to_fresh_prompts(tmp_path):
    world = half_dead()
    config = dapo()
    loop = online_loop(world, ALGORITHMS["grpo"], config, seed=5)
    for step in range(config.steps):
        done, values = loop.step(world.prompts, step)
        numbers = [world.index.prompts[group.prompt] for group in done.tokens]
        assert sorted(numbers) == [1, 3, 5, 7]
        assert values["group/dead_fraction"] == 0
        assert 0 <= values["group/discarded"] <= 4


def test_without_rounds_dead_groups_stay_and_are_counted(tmp_path):
    _, last, history = run(half_dead(), dapo(resample_rounds=0), tmp_path)
    assert len(last.groups) == 4
    assert sum(history.values["group/dead_fraction"]) == 4 * 0.5
    assert "group/discarded" not in history.values


def test_resampling_ends_when_no_prompt_is_left(tmp_path):
    _, last, history = run(half_dead(), dapo(batch_prompts=8, steps=1), tmp_path)
    assert len(last.groups) == 8
    assert history.values["group/discarded"] == [0]
    assert history.values["group/dead_fraction"] == [0.5]


def test_groups_of_one_log_no_dead_groups(tmp_path):
    config = ReinforceConfig(k=1, steps=1, optimizer=RATE)
    _, _, history = run(half_dead(), config, tmp_path)
    assert "group/dead_fraction" not in history.values
