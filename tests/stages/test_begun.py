"""Begun work: gone on with where nothing has changed, never lost unasked."""

import json
import os
from pathlib import Path

import pytest

from palate.stages.begun import can_go_on, taken_up
from palate.store.errors import DataError
from palate.store.origin import Begun, Change, Origin, changes
from palate.store.runs import StageDir

BEFORE = Origin(
    stage="grpo",
    settings={"steps": 5, "kl": {"coef": 0.05}, "optimizer": {"lr": 0.01, "name": "adamw"}},
    inputs={"@sft": "aa", "crash.py": "bb"},
    seed=3,
    code_version="0.1.0",
)
NOW = {
    "code": BEFORE.model_copy(update={"inputs": {"@sft": "aa", "crash.py": "cc"}}),
    "model": BEFORE.model_copy(update={"inputs": {"@sft": "a1", "crash.py": "bb"}}),
    "setting": BEFORE.model_copy(
        update={"settings": BEFORE.settings | {"kl": {"coef": 0.07}}},
    ),
}


def begun(path: Path, steps: int = 4) -> StageDir:
    folder = StageDir(path / "01-grpo")
    folder.begin(Begun(origin=BEFORE))
    folder.log(0, {"reward/score": 1.0})
    if steps:
        folder.write_text(f"checkpoints/step-{steps - 1:07d}/state.json", "{}")
        folder.write_text(f"checkpoints/step-{steps:07d}/state.json", "{}")
    return folder


def taken(folder: StageDir, now: Origin, onward="ask") -> tuple[Begun | None, list[str]]:
    said: list[str] = []
    return taken_up(folder, now, onward, unit="step", say=said.append), said


def finish(folder: StageDir, origin: Origin) -> None:
    folder.begin(Begun(origin=origin))
    folder.write_text("model/weights", "weights")
    folder.finish(
        stage=origin.stage,
        name="grpo",
        seed=origin.seed,
        fingerprint=origin.fingerprint,
        inputs=origin.inputs,
        summary={},
    )


def test_what_has_not_changed_is_gone_on_with_in_silence(tmp_path):
    folder = begun(tmp_path)
    assert taken(folder, BEFORE) == (Begun(origin=BEFORE), [])
    assert folder.saved_steps() == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("code", "4 steps are done, but crash.py has changed"),
        ("model", "4 steps are done, but @sft made something else"),
        ("setting", "4 steps are done, but kl.coef was 0.05 and is 0.07"),
    ],
)
def test_a_change_is_named_with_what_would_be_lost_and_loses_nothing(tmp_path, change, told):
    folder = begun(tmp_path)
    with pytest.raises(DataError) as refused:
        taken(folder, NOW[change])
    assert refused.value.problem == told
    assert "--restart begins again" in refused.value.remedy
    assert ("--resume" in refused.value.remedy) == (change == "code")
    assert folder.saved_steps() == 4
    assert folder.begun() == Begun(origin=BEFORE)
    assert taken(folder, BEFORE) == (Begun(origin=BEFORE), [])


def test_resume_goes_on_with_changed_code_and_the_stage_says_so_for_ever(tmp_path):
    folder = begun(tmp_path)
    sentence = "behind step 4: crash.py has changed"
    wanted = Begun(origin=NOW["code"], resumed=(sentence,))
    assert taken(folder, NOW["code"], "resume") == (
        wanted,
        ["goes on behind step 4 although crash.py has changed"],
    )
    assert folder.begun() == wanted
    assert folder.saved_steps() == 4
    assert taken(folder, NOW["code"]) == (wanted, [])


@pytest.mark.parametrize("change", ["model", "setting"])
def test_resume_is_refused_where_it_would_be_another_training(tmp_path, change):
    folder = begun(tmp_path)
    with pytest.raises(DataError, match="--restart begins again"):
        taken(folder, NOW[change], "resume")
    assert folder.saved_steps() == 4


@pytest.mark.parametrize("now", [BEFORE, *NOW.values()])
def test_restart_begins_again(tmp_path, now):
    folder = begun(tmp_path)
    work, _ = taken(folder, now, "restart")
    assert work == Begun(origin=now) == folder.begun()
    assert folder.saved_steps() == 0
    assert folder.metrics() == []
    assert json.loads(folder.config_text()) == now.settings


def test_without_a_checkpoint_there_is_nothing_to_ask(tmp_path):
    folder = begun(tmp_path, steps=0)
    work, said = taken(folder, NOW["setting"])
    assert work == Begun(origin=NOW["setting"])
    assert said == ["begins again: kl.coef was 0.05 and is 0.07"]


@pytest.mark.parametrize("text", ["", "[" * 9999, '"0123456789abcdef"', '{"origin": {"stage":'])
def test_damaged_notes_about_the_beginning_keep_the_work_too(tmp_path, text):
    folder = begun(tmp_path)
    (folder.path / "begun.json").write_text(text)
    for onward in ("ask", "resume"):
        with pytest.raises(DataError, match=r"4 steps are done, but begun.json.*--restart"):
            taken(folder, BEFORE, onward)
    assert folder.saved_steps() == 4
    assert taken(folder, BEFORE, "restart")[0] == Begun(origin=BEFORE)


def test_a_finished_stage_is_skipped_and_says_why_it_runs_again(tmp_path):
    folder = StageDir(tmp_path / "01-grpo")
    finish(folder, BEFORE)
    assert taken(folder, BEFORE) == (None, [])
    assert taken(folder, BEFORE, "restart") == (None, [])
    work, said = taken(folder, NOW["setting"])
    assert work == Begun(origin=NOW["setting"])
    assert said == ["runs again: kl.coef was 0.05 and is 0.07"]
    assert taken(folder, BEFORE) == (None, [])
    (folder.path / "model" / "weights").write_text("Weights")
    work, said = taken(folder, BEFORE)
    assert work == Begun(origin=BEFORE)
    assert said == ["runs again: model/weights is not what stage 'grpo' wrote"]


def test_what_finished_before_comes_back_only_when_no_begun_work_is_lost(tmp_path):
    folder = StageDir(tmp_path / "01-grpo")
    finish(folder, BEFORE)
    taken(folder, NOW["setting"])
    folder.write_text("checkpoints/step-0000002/state.json", "{}")
    with pytest.raises(DataError, match=r"2 steps are done, but kl.coef was 0.07 and is 0.05"):
        taken(folder, BEFORE)
    assert taken(folder, BEFORE, "restart") == (None, [])
    assert folder.is_finished(BEFORE.fingerprint)


def test_a_stage_that_fails_before_it_made_anything_leaves_what_was_there(tmp_path):
    folder = StageDir(tmp_path / "01-grpo")
    taken(folder, BEFORE)
    folder.give_up()
    assert os.listdir(tmp_path) == []
    finish(folder, BEFORE)
    taken(folder, NOW["setting"])
    folder.write_text("timing.json", "{}")
    folder.give_up()
    assert folder.is_finished(BEFORE.fingerprint)
    taken(folder, NOW["setting"])
    folder.log(0, {"reward/score": 1.0})
    folder.give_up()
    assert len(folder.metrics()) == 1


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("crash.py", True),
        ("palate", True),
        ("compute.micro_batch_tokens", True),
        ("optimizer.lr", True),
        ("critic_optimizer.eps", True),
        ("checkpoint_steps", True),
        ("sampling.rows", True),
        ("optimizer.name", False),
        ("critic_optimizer.name", False),
        ("sampling.temperature", False),
        ("steps", False),
        ("seed", False),
        ("@sft", False),
        ("pairs.jsonl", False),
        ("lora.rank", False),
    ],
)
def test_what_training_may_go_on_with(name, sound):
    assert can_go_on(Change(name=name, text="")) == sound


def test_changes_are_told_by_name():
    now = Origin(
        stage="grpo",
        settings=BEFORE.settings | {"reward": "b.py:f"},
        inputs={"@sft": "aa", "b.py": "dd"},
        seed=4,
        code_version="0.2.0",
    )
    assert [change.text for change in changes(BEFORE, now)] == [
        'reward was not there and is "b.py:f"',
        "seed was 3 and is 4",
        'palate was "0.1.0" and is "0.2.0"',
    ]
    fewer = BEFORE.model_copy(update={"inputs": {"@sft": "aa"}})
    assert [c.text for c in changes(BEFORE, fewer)] == ["crash.py is no longer there"]
    assert [c.text for c in changes(fewer, BEFORE)] == ["crash.py is read now"]
    assert changes(BEFORE, BEFORE) == []
