"""Checkpoints: complete or not there, the last two kept, a damaged one refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from palate.training.checkpoints import Checkpoint, Checkpoints


def checkpoint(step: int) -> Checkpoint:
    weights = {"weight.a": torch.arange(500.0) + step, "updates": torch.tensor(step)}
    return Checkpoint(step=step, states={"policy": weights}, scalars={"kl/coef": 0.1 * step})


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=5)
    for step in (5, 10, 15):
        checkpoints.save(checkpoint(step))
    return checkpoints


def folder_of(kept: Checkpoints, step: int) -> Path:
    return kept.folder / f"step-{step:07d}"


def test_the_latest_comes_back_to_the_bit_and_two_are_kept(kept: Checkpoints) -> None:
    latest = kept.latest()
    assert latest is not None
    assert (latest.step, dict(latest.scalars)) == (15, {"kl/coef": 0.1 * 15})
    assert torch.equal(latest.states["policy"]["weight.a"], torch.arange(500.0) + 15)
    assert [path.name for path in sorted(kept.folder.iterdir())] == ["step-0000010", "step-0000015"]


def cut_short(folder: Path) -> None:
    weights = folder / "state.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def changed(folder: Path) -> None:
    weights = folder / "state.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def half_a_description(folder: Path) -> None:
    text = folder / "state.json"
    text.write_text(text.read_text()[:20])


def without_weights(folder: Path) -> None:
    (folder / "state.safetensors").unlink()


@pytest.mark.parametrize("damage", [cut_short, changed, half_a_description, without_weights])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_is_still_good(
    kept: Checkpoints, damage: Callable[[Path], None]
) -> None:
    damage(folder_of(kept, 15))
    with pytest.raises(ValueError, match=r"step-0000015 is damaged.*delete that folder"):
        kept.latest()
    for file in folder_of(kept, 15).iterdir():
        file.unlink()
    folder_of(kept, 15).rmdir()
    latest = kept.latest()
    assert latest is not None
    assert latest.step == 10


def test_what_a_crash_left_half_written_is_no_checkpoint(kept: Checkpoints) -> None:
    folder_of(kept, 15).rename(folder_of(kept, 20).with_suffix(".partial"))
    latest = kept.latest()
    assert latest is not None
    assert latest.step == 10
    kept.save(checkpoint(20))
    assert not list(kept.folder.glob("*.partial"))
    again = kept.latest()
    assert again is not None
    assert again.step == 20


def test_clearing_leaves_nothing_to_resume_from(kept: Checkpoints) -> None:
    kept.clear()
    assert kept.latest() is None
