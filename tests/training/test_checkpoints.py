"""Checkpoints: complete or not there, the last two kept, a damaged one refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from palate.store.errors import DataError
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


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = folder / "state.json"
        sealed = json.loads(text.read_text())
        change(sealed)
        text.write_text(json.dumps(sealed))

    return damage


def nested(folder: Path) -> None:
    (folder / "state.json").write_text("[" * 100_000)


def one_of_another_step(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("step-0000010"), folder)


DAMAGES = {
    "weights cut short": cut_short,
    "weights changed": changed,
    "half a description": half_a_description,
    "no weights": without_weights,
    "no text": lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe"),
    "a list": lambda folder: (folder / "state.json").write_text("[]"),
    "nested": nested,
    "another coefficient": edited(lambda it: it["state"]["scalars"].update({"kl/coef": 9.75})),
    "another step": edited(lambda it: it["state"].update(step=14)),
    "no scalars": edited(lambda it: it["state"]["scalars"].clear()),
    "no roles": edited(lambda it: it["state"].pop("roles")),
    "other roles": edited(lambda it: it["state"].update(roles=["critic"])),
    "no seal": edited(lambda it: it.pop("seal")),
    "a copy of the one before": one_of_another_step,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_is_still_good(
    kept: Checkpoints, damage: Callable[[Path], None]
) -> None:
    damage(folder_of(kept, 15))
    with pytest.raises(DataError, match=r"step-0000015: .* is damaged.*delete that folder"):
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
