"""A stage has a manifest if and only if it finished, and only one process writes a run."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import palate
from palate.records import user_prompt
from palate.store.errors import DataError
from palate.store.origin import fingerprint
from palate.store.runs import (
    RunDir,
    RunLocked,
    StageDir,
    check_path,
    code_version,
    source_hash,
)

MARK = fingerprint("sft", '{"lr": 0.1}', {"data": "abc"}, 7, "0.1.0")


@pytest.fixture
def stage(tmp_path: Path) -> StageDir:
    return RunDir(tmp_path, "cafe").stage(2, "sft")


def finish(stage: StageDir, mark: str = MARK) -> None:
    stage.write_config('{"lr": 0.1}')
    stage.log(0, {"sft/nll": 2.0})
    stage.write_text("model/weights", "weights")
    stage.write_json("evaluation.json", {"win rate": 0.5})
    stage.write_jsonl("groups.jsonl", [user_prompt("Hi"), {"n": 1}])
    stage.finish(
        stage="sft",
        name="sft",
        seed=7,
        fingerprint=mark,
        inputs={"data": "abc"},
        summary={"nll": 2},
    )


def test_a_finished_stage_is_known_by_its_fingerprint_and_its_manifest_tells_all(stage):
    assert not stage.is_finished(MARK)
    finish(stage)
    assert stage.is_finished(MARK)
    assert not stage.is_finished(fingerprint("sft", '{"lr": 0.1}', {"data": "abd"}, 7, "0.1.0"))
    manifest = stage.manifest()
    assert sorted(manifest.outputs) == [
        "config.json", "evaluation.json", "groups.jsonl", "metrics.jsonl", "model/weights",
    ]  # fmt: skip
    assert (manifest.stage, manifest.seed, manifest.summary) == ("sft", 7, {"nll": 2.0})
    assert manifest.inputs == {"data": "abc"}
    assert manifest.code_version == palate.__version__ == code_version()
    assert manifest.source_hash == source_hash()
    assert stage.path.name == "02-sft"


@pytest.mark.parametrize("name", ["model/weights", "config.json", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["edited", "removed"])
def test_an_edited_or_missing_output_means_not_finished(stage, name, damage):
    finish(stage)
    path = stage.path / name
    if damage == "edited":
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    else:
        path.unlink()
    assert not stage.is_finished(MARK)


def test_a_damaged_manifest_means_not_finished_and_reading_it_is_an_error(stage):
    with pytest.raises(DataError, match="has not finished"):
        stage.manifest()
    finish(stage)
    (stage.path / "manifest.json").write_text('{"stage": "sft"}')
    assert not stage.is_finished(MARK)
    with pytest.raises(DataError, match="damaged or old"):
        stage.content_hash()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_finishing_leaves_an_unfinished_stage_that_can_finish(
    stage, monkeypatch, step
):
    stage.write_config("{}")
    stage.write_text("model", "weights")

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full_disk)
        with pytest.raises(OSError, match="No space left"):
            finish_again(stage)
    assert not stage.is_finished(MARK)
    assert sorted(os.listdir(stage.path)) == ["config.json", "model"]
    finish_again(stage)
    assert stage.is_finished(MARK)


def finish_again(stage: StageDir) -> None:
    stage.finish(stage="sft", name="sft", seed=7, fingerprint=MARK, inputs={}, summary={})


def test_how_a_stage_ran_is_no_output_and_checkpoints_may_go(stage):
    stage.folder("checkpoints/step-1")
    stage.write_text("checkpoints/step-1/state", "big")
    stage.write_text("timing.json", "{}")
    stage.write_text(".model.0123abcd.tmp/config.json", "half")
    stage.write_text(".notes.txt.0123abcd.tmp", "half")
    stage.write_text("kept.tmp", "a file that a function of somebody wrote")
    finish(stage)
    shutil.rmtree(stage.path / "checkpoints")
    stage.write_text("timing.json", '{"seconds": 3}')
    assert stage.is_finished(MARK)
    outputs = stage.manifest().outputs
    assert "timing.json" not in outputs
    assert not [name for name in outputs if "0123abcd" in name]
    assert "kept.tmp" in outputs


def test_the_content_hash_is_about_what_was_made_not_about_speed_place_or_name(tmp_path):
    one = RunDir(tmp_path / "a", "one").stage(1, "sft")
    two = RunDir(tmp_path / "b", "two").stage(9, "other")
    finish(one)
    finish(two, mark="another fingerprint")
    assert one.content_hash() == two.content_hash()
    two.log(1, {"speed/tokens_per_second": 5.0})
    finish_again(two)
    assert one.content_hash() == two.content_hash()
    two.write_text("model/weights", "other weights")
    finish_again(two)
    assert one.content_hash() != two.content_hash()


def test_a_fingerprint_sees_everything_that_decides_and_nothing_else():
    same = fingerprint("sft", ' {"lr":1e-1}\n', {"data": "abc"}, 7, "0.1.0")
    assert same == MARK
    assert MARK == "dad7eca35c851371"  # no clock, no hostname, no hash randomization
    others = {
        fingerprint("dpo", '{"lr": 0.1}', {"data": "abc"}, 7, "0.1.0"),
        fingerprint("sft", '{"lr": 0.2}', {"data": "abc"}, 7, "0.1.0"),
        fingerprint("sft", '{"lr": 0.1}', {"data": "abd"}, 7, "0.1.0"),
        fingerprint("sft", '{"lr": 0.1}', {"date": "abc"}, 7, "0.1.0"),
        fingerprint("sft", '{"lr": 0.1}', {"data": "abc"}, 8, "0.1.0"),
        fingerprint("sft", '{"lr": 0.1}', {"data": "abc"}, 7, "0.2.0"),
    }
    assert len(others - {MARK}) == 6


def test_metrics_come_back_in_order_and_with_numbers_that_json_has_not(stage):
    assert stage.metrics() == []
    stage.log(0, {"kl": 0.1, "reward": -math.inf})
    stage.log(5, {"kl": math.nan})
    first, second = stage.metrics()
    assert first == {"step": 0.0, "kl": 0.1, "reward": -math.inf}
    assert second["step"] == 5.0
    assert math.isnan(second["kl"])
    for line in (stage.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_metric_line_that_a_crash_cut_short_is_ignored_and_then_dropped(stage):
    stage.log(0, {"kl": 0.1})
    stage.log(1, {"kl": 0.2})
    path = stage.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert [line["step"] for line in stage.metrics()] == [0]
    stage.log(1, {"kl": 0.3})
    assert stage.metrics() == [{"step": 0, "kl": 0.1}, {"step": 1, "kl": 0.3}]
    path.write_bytes(b'{"step"')
    stage.log(0, {"kl": 0.4})
    assert stage.metrics() == [{"step": 0, "kl": 0.4}]


def test_rewinding_drops_the_step_itself_and_what_follows(stage):
    stage.rewind(0)
    for step in range(5):
        stage.log(step, {"kl": float(step)})
    stage.rewind(3)
    assert [line["step"] for line in stage.metrics()] == [0, 1, 2]
    stage.log(3, {"kl": 9.0})
    assert stage.metrics()[-1] == {"step": 3, "kl": 9.0}


def test_clearing_removes_the_manifest_first_and_follows_no_link(stage, tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    finish(stage)
    (stage.path / "link").symlink_to(precious, target_is_directory=True)

    def crash(*_: object) -> None:
        raise OSError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(OSError, match="crash"):
            stage.clear()
    assert not stage.is_finished(MARK)
    stage.clear()
    assert os.listdir(stage.path) == []
    assert (precious / "file").read_text() == "x"
    stage.clear()


def test_what_a_finished_stage_made_is_kept_until_another_has_finished_in_its_place(stage):
    finish(stage)
    stage.start_over()
    assert os.listdir(stage.path) == []
    assert not stage.is_finished(MARK)
    stage.write_config("{}")  # a stage that fails
    stage.start_over()  # and another one
    assert not stage.take_back("another")
    assert stage.take_back(MARK)
    assert stage.is_finished(MARK)
    assert (stage.path / "model" / "weights").read_text() == "weights"
    assert not stage.take_back(MARK)
    stage.start_over()
    other = fingerprint("sft", '{"lr": 0.2}', {}, 7, "0.1.0")
    finish(stage, other)
    assert stage.is_finished(other)
    assert os.listdir(stage.path.parent) == ["02-sft"]
    assert not stage.take_back(MARK)


def test_only_the_folder_of_a_stage_is_ever_cleared(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("x")
    with pytest.raises(ValueError, match="not the folder of a stage"):
        StageDir(tmp_path / "home").clear()
    (tmp_path / "01-sft").symlink_to(tmp_path / "home", target_is_directory=True)
    for throw in (StageDir(tmp_path / "01-sft").clear, StageDir(tmp_path / "home").start_over):
        with pytest.raises(ValueError, match="not the folder of a stage"):
            throw()
    assert (tmp_path / "home" / "thesis").read_text() == "x"


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "/etc", "a/b", "a b", ".hidden", "-rf"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a folder"):
        RunDir(tmp_path, name)
    with pytest.raises(ValueError, match="cannot name a folder"):
        RunDir(tmp_path, "run").stage(1, name)


@pytest.mark.parametrize("name", ["../other/file", "/etc/passwd", "manifest.json"])
def test_a_stage_writes_inside_its_folder_only_and_never_the_manifest(stage, name):
    with pytest.raises(ValueError, match="does not name a file that a stage may write"):
        stage.write_text(name, "x")


def test_the_lock_removes_what_killed_processes_left(stage, tmp_path):
    run = RunDir(tmp_path, "cafe")
    finish(stage)
    made = sorted(path for path in stage.path.rglob("*") if path.is_file())
    stage.write_text(".model.0123abcd.tmp/model.safetensors", "half")
    stage.write_text("model/.weights.0123abcd.tmp", "half")
    stage.write_text("checkpoints/step-0000005/state.json", "{}")
    StageDir(stage.path.with_name(".02-sft.before")).write_text("model/weights", "old weights")
    (run.path / ".recipe.toml.0123abcd.tmp").write_text("half")
    unfinished = run.stage(3, "dpo")
    unfinished.write_text("checkpoints/step-0000005/state.json", "{}")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / ".a.0123abcd.tmp").write_text("x")
    (stage.path / "link").symlink_to(precious, target_is_directory=True)
    (stage.path / ".link.0123abcd.tmp").symlink_to(precious, target_is_directory=True)
    with run.lock():
        pass
    (stage.path / "link").unlink()
    assert sorted(path for path in stage.path.rglob("*") if path.is_file()) == made
    assert sorted(os.listdir(run.path)) == [".lock", "02-sft", "03-dpo"]
    assert (unfinished.path / "checkpoints" / "step-0000005" / "state.json").is_file()
    assert (precious / ".a.0123abcd.tmp").read_text() == "x"


def test_a_run_that_another_process_writes_is_not_cleaned(stage, tmp_path):
    run = RunDir(tmp_path, "cafe")
    with run.lock():
        stage.write_text(".model.0123abcd.tmp/model.safetensors", "being written")
        with pytest.raises(RunLocked), run.lock():
            pass
        assert (stage.path / ".model.0123abcd.tmp" / "model.safetensors").is_file()


HOLDER = """
import sys, time
from pathlib import Path
from palate.store.runs import RunDir
with RunDir(Path(sys.argv[1]), "cafe").lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_write_one_run_and_a_killed_one_frees_it(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    run = RunDir(tmp_path, "cafe")
    with pytest.raises(RunLocked, match=rf"process {holder.pid} is writing run"), run.lock():
        pytest.fail("the lock was given twice")
    with RunDir(tmp_path, "bar").lock():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with run.lock(), pytest.raises(RunLocked, match=f"process {os.getpid()}"), run.lock():
        pytest.fail("the lock was given twice")
    with run.lock():
        pass


def test_what_a_damaged_stage_made_is_no_input_of_another(stage):
    finish(stage)
    stage.content_hash()
    weights = stage.path / "model" / "weights"
    weights.write_text("Weights")
    (stage.path / "groups.jsonl").unlink()
    for read in (stage.content_hash, stage.checked):
        with pytest.raises(DataError) as refused:
            read()
        assert str(refused.value) == (
            f"{stage.path}: groups.jsonl is not what stage 'sft' wrote (nor 1 more). Remedy: run "
            "sft again, or copy the files elsewhere and name them there if they are what you want"
        )
    with pytest.raises(DataError, match="model/weights is not what"):
        stage.checked("model")
    stage.checked("evaluation.json")


def test_a_path_into_a_run_is_checked_and_no_other_path_is(stage, tmp_path, monkeypatch):
    finish(stage)
    model = stage.path / "model"
    check_path(model)
    (model / "weights").write_text("Weights")
    for inside in (model, model / "weights", stage.path):
        with pytest.raises(DataError, match="model/weights is not what stage 'sft' wrote"):
            check_path(inside)
    monkeypatch.chdir(stage.path)
    with pytest.raises(DataError, match="model/weights is not what"):
        check_path(Path("model"))
    check_path(stage.path / "groups.jsonl")
    shutil.copytree(model, tmp_path / "elsewhere")
    check_path(tmp_path / "elsewhere")
    other = tmp_path / "01-other"
    other.mkdir()
    (other / "manifest.json").write_text('{"files": []}')
    check_path(other)


METRIC_LINES = [b"{", b"\xff", b"[]", b'{"kl": 1.0}', b'{"step": "x"}', b"[" * 9999, b"1"]


@pytest.mark.parametrize("line", METRIC_LINES)
def test_a_damaged_line_is_named_with_its_file_and_what_to_do(stage, line):
    stage.log(0, {"kl": 0.1})
    with (stage.path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    for read in (stage.metrics, lambda: stage.rewind(1)):
        with pytest.raises(DataError, match=r"metrics.jsonl, row 2: .*remove that line to go on"):
            read()
    (stage.path / "samples.jsonl").write_bytes(line + b"\n")
    with pytest.raises(DataError, match=r"samples.jsonl, row 1: .*remove that line to go on"):
        stage.samples()
    (stage.path / "trust.json").write_bytes(line)
    with pytest.raises(DataError, match=r"trust.json: .*remove that file to go on"):
        stage.trust()
    stage.write_config("{}")
    finish_again(stage)
    with pytest.raises(DataError, match=r"metrics.jsonl, row 2: .*run the stage again"):
        stage.metrics()


@pytest.mark.parametrize("text", [b"", b'{"seconds": 3', b"\xff", b"[]", b'{"seconds": "x"}'])
def test_damaged_times_are_dropped(stage, text):
    stage.write_text("timing.json", '{"seconds": 3.0, "peak_memory_mib": 5.0, "host": "a"}')
    assert (stage.timing().seconds, stage.timing().peak_memory_mib) == (3.0, 5.0)
    (stage.path / "timing.json").write_bytes(text)
    assert stage.timing().seconds == 0
