"""What people see of a run that goes on: lines through a pipe, time left, machine, and the log."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.load import load_recipe, resolved_json
from palate.records.machine import Machine
from palate.stages.forecast import Pace, Rest, measured_before, rest_of
from palate.stages.machines import processor_name, this_machine
from palate.stages.progress import StageMonitor, Voice
from palate.stages.resources import Stopwatch
from palate.store.runs import RunDir, StageDir

RECIPE = """
name = "r"
[pretrain]
corpus = "cafe:corpus:40"
max_updates = 6
batch_tokens = 256
architecture = { hidden_size = 16, layers = 1, heads = 2, intermediate_size = 32, vocabulary = 280 }
[sft]
model = "@pretrain"
data = "cafe:demonstrations:12"
max_updates = 2
"""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def monitored(folder: Path, later: Rest | None = None, *, terminal: bool = False):
    said, clock = StringIO(), Clock()
    console = Console(file=said, width=200, force_terminal=terminal)
    voice = Voice(console, folder / "run.log")
    return StageMonitor("sft", StageDir(folder / "01-sft"), voice, later, clock), clock, said


def logged(folder: Path) -> list[str]:
    """Lines of the log without their times."""
    lines = (folder / "run.log").read_text(encoding="utf-8").splitlines()
    return [line.partition("  ")[2] for line in lines]


def test_without_a_terminal_a_line_comes_at_once_then_every_half_minute_and_at_last(tmp_path):
    monitor, clock, said = monitored(tmp_path)
    with monitor:
        for update in range(10):
            clock.now = 10.0 * update
            monitor.log(update, 10, {"sft/nll": 2.0 - update / 10, "learner/grad_norm": 1.0})
    lines = said.getvalue().splitlines()
    assert lines == [
        f"{'sft':<18} 1 of 10  nll 2.000",
        f"{'sft':<18} 4 of 10  nll 1.700  1 min 00 s left",
        f"{'sft':<18} 7 of 10  nll 1.400  30.0 s left",
        f"{'sft':<18} 10 of 10  nll 1.100  0.0 s left",
    ]
    assert logged(tmp_path) == lines


def test_the_time_left_of_the_run_adds_what_other_stages_took_and_says_what_is_unknown(tmp_path):
    monitor, clock, said = monitored(tmp_path, Rest(seconds=100.0, unknown=1))
    with monitor:
        for update in (0, 1):
            clock.now = 40.0 * update
            monitor.log(update, 3, {})
    assert "2 of 3  40.0 s left (run: 2 min 20 s left and 1 stage not measured yet)" in (
        said.getvalue()
    )


def test_a_terminal_has_a_bar_with_the_time_left_and_the_log_the_lines(tmp_path):
    monitor, clock, said = monitored(tmp_path, Rest(seconds=60.0), terminal=True)
    with monitor:
        for update in (0, 1):
            clock.now = 30.0 * update
            monitor.log(update, 4, {"sft/nll": 2.0})
        monitor.progress.refresh()
    assert "1 min 00 s left (run: 2 min 00 s left)" in said.getvalue()
    assert logged(tmp_path)[0] == f"{'sft':<18} 1 of 4  nll 2.000"


def test_the_pace_after_a_resume_counts_only_updates_that_were_made_here():
    clock = Clock()
    pace = Pace(clock)
    assert pace.left(91, 100) is None
    clock.now = 6.0
    assert pace.left(93, 100) == pytest.approx(21.0)


def test_only_stages_with_the_same_settings_on_such_a_processor_say_how_long_they_take(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.toml")
    here = this_machine("cpu")
    elsewhere = here.model_copy(update={"processor": "another"})

    def finished(run: str, name: str, machine: Machine, seconds: float, text: str = "") -> None:
        folder = RunDir(tmp_path / "runs", run).stage(1, name)
        folder.write_config(text or resolved_json(recipe.stages[name]))
        timing = {"seconds": seconds, "machines": [machine.model_dump()]}
        folder.write_text("timing.json", json.dumps(timing))
        folder.finish(stage=name, name=name, seed=0, fingerprint="", inputs={}, summary={})

    assert measured_before(tmp_path / "runs", recipe) == {}
    finished("a", "pretrain", elsewhere, 1.0)
    finished("a", "sft", here, 2.0, "{}")
    assert measured_before(tmp_path / "runs", recipe) == {}
    finished("b", "sft", here, 3.0)
    assert measured_before(tmp_path / "runs", recipe) == {"sft": 3.0}
    assert rest_of(["pretrain", "sft"], {"sft": 3.0}) == Rest(seconds=3.0, unknown=1)


def test_the_seconds_of_the_processor_are_those_of_this_process_and_its_children():
    with Stopwatch() as watch:
        subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert watch.usage.cpu_seconds > 0.05
    with Stopwatch() as idle:
        pass
    assert idle.usage.cpu_seconds < watch.usage.cpu_seconds


@pytest.mark.slow  # two real processes
def test_a_run_through_a_pipe_says_machine_updates_and_time_and_keeps_them_in_its_log(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "palate", "run", "r.toml"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = told.stdout.splitlines()
    run = tmp_path / "runs" / "r"
    assert logged(run) == lines
    machine = this_machine("cpu")
    assert lines[0] == f"{'machine':<18} {machine.text}"
    assert processor_name() in machine.text
    assert [line.split()[1] for line in lines if " of 6 " in line] == ["1", "6"]
    assert "0.0 s left (run: 0.0 s left and 1 stage not measured yet)" in told.stdout
    stage = StageDir(run / "01-pretrain")
    assert stage.timing().machines == (machine,)
    assert stage.timing().cpu_seconds > 0
    assert not {"run.log", "timing.json"} & set(stage.manifest().outputs)

    words = [*command, "sft.max_updates=3"]
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout.startswith(f"{'time':<18} 1 stage of 2 took ")
    assert logged(run)[: len(lines)] == lines
    refused = subprocess.run(
        [*command, "sft.data=none.jsonl"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode
    assert "sft: stopped: none.jsonl" in logged(run)[-1]
