"""What stages say of themselves for the report, and files that another version wrote."""

import json
from pathlib import Path

import pytest

from palate.config.onpolicy import GrpoConfig, PpoConfig, ReinforceConfig, RlooConfig
from palate.records import Record
from palate.stages.explained import as_written, config_of, controls, group_of, notes
from palate.store.errors import DataError
from palate.store.runs import StageDir
from palate.training.trust import ROLLOUTS, StoredRollout
from tests.evaluation.evaluations import evaluation


class Made(StageDir):
    """A folder whose stage finished with these settings."""

    def __init__(self, path: Path, config: PpoConfig | GrpoConfig | ReinforceConfig | RlooConfig):
        super().__init__(path)
        self.write_config(config.model_dump_json())
        self.kind = config.stage

    def manifest(self):
        return type("Manifest", (), {"stage": self.kind})


def rollout(score: float, text: str, *, prompt: str = "?", own: float = -1.0) -> StoredRollout:
    return StoredRollout(
        prompt_id=prompt,
        prompt=prompt,
        response=text,
        token_ids=(1, 2),
        sampler_logprobs=(own, own),
        logprobs=(own, own),
        ref_logprobs=(-1.0, -1.0),
        score=score,
        finished=True,
    )


def with_rollouts(path: Path, config, *rows: StoredRollout, coef: float = 0.5) -> Made:
    folder = Made(path, config)
    folder.write_jsonl(ROLLOUTS, rows)
    folder.log(0, {"kl/coef": 9.0})
    folder.log(1, {"kl/coef": coef})
    return folder


def test_a_group_has_the_rewards_and_advantages_of_its_step(tmp_path):
    rows = (rollout(1.0, "a\u2028c"), rollout(2.0, "b", own=-0.5))
    group = group_of("grpo", with_rollouts(tmp_path, GrpoConfig(k=2), *rows))
    assert group
    assert [answer.text for answer in group.answers] == ["a\u2028c", "b"]
    # The second moved 1 nat, at 0.5 of reward each: 2 - 0.5. Each is compared with the other.
    assert [answer.reward for answer in group.answers] == pytest.approx([1.0, 1.5])
    assert [answer.advantage for answer in group.answers] == pytest.approx([-0.5, 0.5])


def test_the_group_with_the_most_different_answers_is_shown(tmp_path):
    same = (rollout(1.0, "a", prompt="dull"), rollout(2.0, "a", prompt="dull"))
    live = (rollout(1.0, "a", prompt="lively"), rollout(2.0, "b", prompt="lively"))
    equal = (rollout(1.0, "a", prompt="dead"), rollout(1.0, "b", prompt="dead"))
    folder = with_rollouts(tmp_path / "all", RlooConfig(k=2), *equal, *same, *live)
    group = group_of("rloo", folder)
    assert group
    assert group.prompt == "lively"
    assert group_of("rloo", with_rollouts(tmp_path / "dead", RlooConfig(k=2), *equal)) is None


def test_methods_that_compare_no_group_show_none(tmp_path):
    rows = (rollout(1.0, "a"), rollout(2.0, "b"))
    for number, config in enumerate((PpoConfig(k=2), ReinforceConfig(k=2))):
        assert group_of("x", with_rollouts(tmp_path / str(number), config, *rows)) is None
    assert group_of("grpo", Made(tmp_path / "without", GrpoConfig(k=2))) is None


def test_a_policy_is_said_to_come_of_all_its_rewards(tmp_path):
    config = GrpoConfig(k=2, reward=("@reward", "verifier:cafe"))
    (note,) = notes(evaluation(grpo=0.6, elsewhere=0.6), {"grpo": Made(tmp_path, config)})
    assert (note.name, note.text) == (
        "grpo",
        "Starts from sft, answers, and is told by reward and verifier:cafe how good each answer "
        "is; each of its 2 answers to a prompt is compared with the others.",
    )


def test_the_kl_control_is_that_of_the_settings(tmp_path):
    kl = {"control": "hard", "coef": 0.2, "target": 3.0}
    (control,) = controls({"ppo": Made(tmp_path, PpoConfig.model_validate({"kl": kl}))})
    assert control.model_dump() == {"name": "ppo"} | kl
    assert control.sentence.startswith("hard: the KL has a budget of 3;")


def test_settings_of_another_version_are_refused_by_name(tmp_path):
    folder = Made(tmp_path, GrpoConfig(k=2))
    folder.write_config(json.dumps({"stage": "grpo", "gone": 1}))
    with pytest.raises(DataError, match=r"config\.json.*\n?.*run that stage again"):
        config_of(folder)
    with pytest.raises(DataError, match="not what this version of palate writes"):
        as_written(Record, '{"more": 1}', tmp_path / "evaluation.json")
