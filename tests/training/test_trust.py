"""The trust record: quiet about a healthy run, and a fault shows in the check that is for it."""

import dataclasses
import json

import pytest
import torch

from palate.algorithms.onpolicy import ALGORITHMS
from palate.config.common import OptimizerConfig
from palate.config.stages import GrpoConfig, OnlineDpoConfig, PpoConfig, ReinforceConfig, RlooConfig
from palate.records.trust import TrustRecord
from palate.store.runs import TRUST, StageDir
from palate.training.checkpoints import Checkpoints
from palate.training.trust import ROLLOUTS, Witness, largest
from palate.verify.enumeration import text_problem
from palate.verify.loops import online_loop
from palate.verify.worlds import GeneratorSampler, tiny_llama, transformer_world

ADAM = OptimizerConfig(lr=0.01)
CONFIGS = [
    PpoConfig(steps=2, optimizer=ADAM, critic_optimizer=ADAM),
    GrpoConfig(steps=2, k=4, optimizer=ADAM),
    RlooConfig(steps=2, k=4, optimizer=ADAM),
    ReinforceConfig(steps=2, k=2, optimizer=ADAM),
    OnlineDpoConfig(steps=2, k=2, optimizer=ADAM),
]


class Written:
    """A monitor that writes metrics, changed by `change`."""

    def __init__(self, folder, change=lambda values: values):
        self.folder, self.change = folder, change

    def log(self, step, total, values):
        self.folder.log(step, self.change(dict(values)))


class Changed:
    """A role whose log-probabilities go through `change`."""

    def __init__(self, role, change):
        self.role, self.change = role, change
        self.layout, self.device = role.layout, role.device

    def trained(self):
        return self.role.trained()

    def __call__(self, groups):
        outputs = self.role(groups)
        return dataclasses.replace(outputs, logprobs=self.change(outputs.logprobs))


def world(**changes):
    return dataclasses.replace(transformer_world(tiny_llama(0), text_problem()), **changes)


def witnessed(path, config, world, change=lambda values: values, vocabulary=5):
    folder = StageDir(path / "01-policy")
    loop = online_loop(world, ALGORITHMS[config.stage], config, seed=5)
    witness = Witness(loop.actors.policy, folder, vocabulary=vocabulary, precision="fp32")
    loop.algorithm = witness.watching(loop.algorithm)
    loop.run(
        world.prompts,
        monitor=Written(folder, change),
        checkpoints=Checkpoints(path / "checkpoints", every=1),
        after=witness.after,
    )
    return TrustRecord.model_validate_json((folder.path / TRUST).read_bytes())


def missed(record):
    return {check.row for check in record.missed}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stage)
def test_a_healthy_run_of_every_algorithm_holds_all_checks(tmp_path, config):
    record = witnessed(tmp_path, config, world())
    clips = ["I7"] if config.stage in ("ppo", "grpo", "reinforce") else []
    assert [check.row for check in record.checks] == ["N1", "N3", "I7", *clips, "M1"]
    assert not record.missed
    assert (record.step, record.precision, record.left_out) == (0, "fp32", "")


def test_a_run_that_was_killed_behind_its_last_step_has_every_check_once(tmp_path):
    whole = witnessed(tmp_path, CONFIGS[1], world())
    assert witnessed(tmp_path, CONFIGS[1], world()) == whole


def test_a_sampler_of_another_temperature_is_not_the_scorer(tmp_path):
    own = world()
    hotter = GeneratorSampler(own.policy.network, own.encoder, temperature=0.95, max_tokens=3)
    record = witnessed(tmp_path, CONFIGS[2], dataclasses.replace(own, sampler=hotter))
    assert missed(record) == {"N3"}


def test_a_scorer_that_shifts_log_probabilities_does_not_sum_to_one(tmp_path):
    own = world()
    shifted = Changed(own.policy, lambda logprobs: logprobs + 0.01)
    record = witnessed(tmp_path, CONFIGS[2], dataclasses.replace(own, policy=shifted))
    assert missed(record) == {"N1", "N3"}
    sums = next(check for check in record.checks if check.row == "N1")
    assert sums.value == pytest.approx(2.718281828**0.01 - 1, abs=1e-5)


def test_a_policy_that_answers_differently_with_a_gradient_breaks_the_ratio(tmp_path):
    """As dropout does, or another kernel in training."""
    own = world()
    other = Changed(own.policy, lambda lp: lp + 0.3 if torch.is_grad_enabled() else lp)
    record = witnessed(tmp_path, CONFIGS[1], dataclasses.replace(own, policy=other))
    assert missed(record) == {"I7"}
    ratio, clipped = (check for check in record.checks if check.row == "I7")
    assert ratio.value == pytest.approx(2.718281828**0.3 - 1, abs=1e-4)
    assert clipped.value > 0


@pytest.mark.parametrize("name", ["reward/score", "kl/policy_reference", "response/length"])
def test_a_metric_that_is_not_that_of_the_stored_rollouts_is_found(tmp_path, name):
    wrong = lambda values: values | {name: values[name] + 0.01}  # noqa: E731
    assert missed(witnessed(tmp_path, CONFIGS[2], world(), wrong)) == {"M1"}


def test_the_rollouts_of_the_last_step_are_stored_as_they_were_scored(tmp_path):
    witnessed(tmp_path, CONFIGS[2], world())
    lines = (tmp_path / "01-policy" / ROLLOUTS).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len(world().prompts) * CONFIGS[2].k
    assert all(len(r["token_ids"]) == len(r["logprobs"]) == len(r["ref_logprobs"]) for r in rows)
    assert any(row["logprobs"] != row["ref_logprobs"] for row in rows)


def test_a_vocabulary_too_large_to_enumerate_is_left_out_and_named(tmp_path):
    record = witnessed(tmp_path, CONFIGS[2], world(), vocabulary=50_000)
    assert "N1" not in {check.row for check in record.checks}
    assert record.left_out == "N1: 50,000 tokens are too many to enumerate"


def test_a_resumed_run_keeps_what_its_first_step_showed(tmp_path):
    class Stop(Exception):
        pass

    def once(values):
        if (tmp_path / "01-policy" / TRUST).exists():
            raise Stop
        return values

    with pytest.raises(Stop):
        witnessed(tmp_path, CONFIGS[2], world(), once)
    first = json.loads((tmp_path / "01-policy" / TRUST).read_text())
    whole = witnessed(tmp_path, CONFIGS[2], world())
    assert [check.model_dump() for check in whole.checks[:-1]] == first["checks"]
    assert whole.step == 0
    assert not whole.missed


def test_not_a_number_is_the_largest_of_all():
    assert largest([]) == 0
    assert largest([0.5, 0.25]) == 0.5
    assert torch.isnan(torch.tensor(largest([1.0, float("nan")])))
