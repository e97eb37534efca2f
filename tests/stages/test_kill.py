"""A process killed again and again, each time before one more change of the disk: same bits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name = "r"
[pretrain]
corpus = "cafe:corpus:40"
batch_tokens = 1024
architecture = { hidden_size = 32, layers = 1, heads = 2, intermediate_size = 64, vocabulary = 280 }
[grpo]
model = "@pretrain"
prompts = "cafe:prompts:8"
reward = "judge:cafe"
steps = 2
batch_prompts = 2
k = 2
checkpoint_steps = 1
sampling = { max_tokens = 8 }
"""

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from rich.console import Console
from palate.config.load import load_recipe
from palate.stages import onpolicy, pretrain  # torch is imported once, before forking
from palate.stages.pipeline import run_recipe

recipe, root = load_recipe(Path("r.toml")), Path(sys.argv[1])

def dies_before(left):
    for module, name in ((os, "replace"), (os, "rename"), (os, "fsync"), (shutil, "rmtree")):
        def change(*args, _real=getattr(module, name), **options):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return _real(*args, **options)
        setattr(module, name, change)

kills = 0
while True:
    child = os.fork()
    if not child:
        dies_before(kills + 1)
        run_recipe(recipe, root=root, console=Console(quiet=True))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not status:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    kills += 1
print(kills)
"""


def kept(root: Path) -> dict[str, bytes]:
    """Every file of a run but those that say how it ran, and without speeds."""
    ran = {"timing.json", "begun.json", "run.log", ".lock"}
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name not in ran}


@pytest.mark.slow  # dozens of processes train a tiny model
def test_a_run_that_is_killed_before_every_change_of_the_disk_ends_as_one_that_never_was(
    tmp_path: Path,
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, "killed.py", "killed"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) > 20
    whole = [sys.executable, "-m", "palate", "run", "r.toml", "--root", "whole"]
    subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True)
    one, other = kept(tmp_path / "killed"), kept(tmp_path / "whole")
    assert set(one) == set(other)
    assert [name for name, data in one.items() if data != other[name]] == []
    trust = json.loads(one["runs/r/02-grpo/trust.json"])
    assert len({check["claim"] for check in trust["checks"]}) == len(trust["checks"])
