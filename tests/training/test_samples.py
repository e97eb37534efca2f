"""Watched prompts: the same at every look, bounded, deterministic, and exact after a resume."""

import math

import pytest
import torch

from palate.algorithms.onpolicy import ALGORITHMS
from palate.batches.groups import token_group
from palate.config.common import OptimizerConfig
from palate.config.onpolicy import OnlineDpoConfig, PpoConfig, RlooConfig
from palate.maths.kl import k1
from palate.records.sample import Sample
from palate.store.runs import SAMPLES, StageDir
from palate.training.checkpoints import Checkpoints
from palate.training.learner import read_all
from palate.training.samples import Watch
from palate.verify import enumeration
from palate.verify.loops import History, online_loop
from palate.verify.worlds import tabular_world
from tests.training.stops import Interrupted, StopsAt

RATE = OptimizerConfig(lr=0.3)
RLOO = RlooConfig(k=4, steps=6, missing_eos_penalty=0, optimizer=RATE)


def problem(prompts=6):
    return enumeration.problem(
        enumeration.tree(vocabulary=4, eos=3, length=3), prompts=prompts, beta=0.5, seed=1
    )


def watched(path, config, monitor=None, world=None):
    world = world or tabular_world(problem())
    loop = online_loop(world, ALGORITHMS[config.stage], config, seed=5)
    folder = StageDir(path / "01-policy")
    watch = Watch(loop, folder, world.prompts)
    checkpoints = Checkpoints(path / "checkpoints", every=3)
    loop.run(
        world.prompts,
        monitor=monitor or History(),
        checkpoints=checkpoints,
        before=watch.look,
    )
    watch.look(config.steps, config.steps)
    return world, folder


@pytest.mark.parametrize(
    "config",
    [RLOO, PpoConfig(steps=2, optimizer=RATE), OnlineDpoConfig(steps=2, optimizer=RATE)],
    ids=lambda config: config.stage,
)
def test_the_same_prompts_are_asked_before_every_step_and_after_the_last(tmp_path, config):
    world, folder = watched(tmp_path, config)
    rows = folder.samples()
    asked = [world.prompts[i] for i in (0, 1, 3, 4)]
    steps = range(config.steps + 1)
    assert [(r.step, r.prompt.id) for r in rows] == [(s, p.id) for s in steps for p in asked]
    assert {r.response.policy for r in rows} == {config.stage}
    assert rows[0].response.sampling.temperature == config.sampling.temperature


def test_long_runs_are_looked_at_ten_times_and_at_their_end(tmp_path):
    config = RLOO.model_copy(update={"steps": 40})
    _, folder = watched(tmp_path, config)
    assert list(dict.fromkeys(row.step for row in folder.samples())) == [*range(0, 40, 4), 40]


def test_kl_is_that_of_the_response_and_the_score_is_the_judge_s(tmp_path):
    world, folder = watched(tmp_path, RLOO)
    last = folder.samples()[-4:]
    tokens = []
    for row in last:
        ask = world.encoder.encode_prompt(row.prompt)
        tokens.append(token_group(ask.id, ask.ids, (row.response.token_ids,)))
    own, reference = (
        read_all(role, tokens, budget=100).logprobs for role in (world.policy, world.reference)
    )
    kls = k1(own, reference).sum(dim=1)  # both are 0 behind the end
    assert max(abs(kls)) > 0.1
    torch.testing.assert_close(
        torch.tensor([row.kl for row in last]).double(), kls, atol=1e-5, rtol=0
    )
    first = folder.samples()[:4]
    assert [row.kl for row in first] == pytest.approx([0.0] * 4, abs=1e-6)
    for row in (*first, *last):
        ask = world.encoder.encode_prompt(row.prompt)
        place = world.index.responses[row.response.token_ids]
        assert row.score == pytest.approx(float(world.reward[world.index.prompts[ask.ids], place]))


def test_watching_changes_no_bit_of_the_training(tmp_path):
    watched_world, _ = watched(tmp_path / "one", RLOO)
    alone = tabular_world(problem())
    loop = online_loop(alone, ALGORITHMS["rloo"], RLOO, seed=5)
    checkpoints = Checkpoints(tmp_path / "two", every=3)
    loop.run(alone.prompts, monitor=History(), checkpoints=checkpoints)
    assert torch.equal(alone.policy.table, watched_world.policy.table)


def test_equal_weights_give_equal_answers_at_every_look(tmp_path):
    config = RLOO.model_copy(update={"optimizer": OptimizerConfig(lr=0.0)})
    _, folder = watched(tmp_path, config)
    rows = folder.samples()
    for number in range(4):
        assert len({row.response for row in rows[number::4]}) == 1


def test_a_resumed_run_drops_what_the_lost_steps_said_and_ends_with_the_same_bytes(tmp_path):
    _, whole = watched(tmp_path / "whole", RLOO)
    with pytest.raises(Interrupted):
        watched(tmp_path / "broken", RLOO, StopsAt(5))
    broken = StageDir(tmp_path / "broken" / "01-policy")
    assert [row.step for row in broken.samples()][::4] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(Interrupted):
        watched(tmp_path / "broken", RLOO, StopsAt(3))  # goes on at step 3
    assert [row.step for row in broken.samples()][::4] == [0, 1, 2, 3]
    watched(tmp_path / "broken", RLOO)
    assert (broken.path / SAMPLES).read_bytes() == (whole.path / SAMPLES).read_bytes()


def test_scores_that_are_not_numbers_survive_the_file(tmp_path):
    _, folder = watched(tmp_path, RLOO)
    row = folder.samples()[0]
    folder.write_jsonl(SAMPLES, [row.model_copy(update={"score": math.nan})])
    (read,) = folder.samples()
    assert isinstance(read, Sample)
    assert math.isnan(read.score)
