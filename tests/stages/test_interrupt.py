"""Ctrl-C and SIGTERM while a stage trains: a checkpoint, an exit code, and the run goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = """
name = "r"
[pretrain]
corpus = "cafe:corpus:200"
batch_tokens = 512
epochs = 8
optimizer = { name = "muon", lr = 3e-3 }
architecture = { hidden_size = 32, layers = 1, heads = 2, intermediate_size = 64, vocabulary = 280 }
"""


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


@pytest.mark.slow  # trains in three processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_the_same_command_finishes_with_the_same_bits(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "palate", "run", "r.toml", "--root"]
    process = subprocess.Popen(
        [*command, "stopped"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    stage = tmp_path / "stopped" / "runs" / "r" / "01-pretrain"
    metrics = stage / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and len(lines(metrics)) >= 7):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert said.endswith("interrupted; run the same command again to resume\n")
    (saved,) = stage.glob("checkpoints/step-*[0-9]")
    assert int(saved.name.removeprefix("step-")) == len(lines(metrics)) < 50
    assert not (stage / "manifest.json").exists()
    assert not (stage / "model").exists()
    subprocess.run([*command, "stopped"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    whole = tmp_path / "whole" / "runs" / "r" / "01-pretrain"
    for file in ("metrics.jsonl", "model/model.safetensors"):
        assert (stage / file).read_bytes() == (whole / file).read_bytes()
    steps = [json.loads(line)["step"] for line in (stage / "metrics.jsonl").open()]
    assert steps == list(range(len(steps)))
