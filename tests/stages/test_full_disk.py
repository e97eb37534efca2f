"""A disk that is full while stages run: a message, a code, nothing half-written, and on it goes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

RECIPE = """
name = "r"
[pretrain]
corpus = "cafe:corpus:40"
batch_tokens = 1024
architecture = { hidden_size = 32, layers = 1, heads = 2, intermediate_size = 64, vocabulary = 280 }
[sft]
data = "cafe:demonstrations:12"
batch_rows = 8
epochs = 1
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if not mount or os.geteuid() or subprocess.run([mount, *options], check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def palate(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "palate", "run", "r.toml", "--root", str(folder)]
    where = folder.parent
    return subprocess.run(command, capture_output=True, text=True, cwd=where, check=False)


def test_a_full_disk_stops_an_import_with_a_message(small_disk: Path) -> None:
    rows = [
        {"prompt": f"question {i}", "chosen": f"yes {i} " * 20, "rejected": "no"}
        for i in range(3000)
    ]
    file = small_disk.parent / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "palate", "import", str(file), "--project", "p"]
    result = subprocess.run(
        [*command, "--root", str(small_disk)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert "no space left for" in result.stderr


@pytest.mark.slow  # three processes train a tiny model
@pytest.mark.parametrize("free", [60_000, 250_000])
def test_a_full_disk_stops_a_run_with_a_message_and_the_run_goes_on_when_there_is_room(
    small_disk: Path, free: int
) -> None:
    (small_disk.parent / "r.toml").write_text(RECIPE)
    ballast = small_disk / "ballast"
    size = os.statvfs(small_disk)
    ballast.write_bytes(bytes(size.f_bavail * size.f_frsize - free))
    result = palate(small_disk)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert result.stderr.startswith("no space left for ")
    for manifest in small_disk.rglob("manifest.json"):
        outputs = json.loads(manifest.read_text())["outputs"]
        assert all((manifest.parent / name).is_file() for name in outputs)
    assert not list(small_disk.rglob("02-sft/manifest.json"))
    assert not [path for path in small_disk.rglob("*") if path.name.endswith(".tmp")]
    ballast.unlink()
    result = palate(small_disk)
    assert result.returncode == 0, result.stderr
    shutil.copytree(small_disk / "runs", small_disk.parent / "kept")
    shutil.rmtree(small_disk / "runs")
    assert palate(small_disk).returncode == 0
    for name in ("01-pretrain", "02-sft"):
        weights = Path("r", name, "model", "model.safetensors")
        again, resumed = small_disk / "runs" / weights, small_disk.parent / "kept" / weights
        assert again.read_bytes() == resumed.read_bytes()
