"""Resumable checkpoints: safetensors and JSON in a folder that appears only when it is complete."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from palate.records import Record, content_id
from palate.store.errors import DataError
from palate.store.files import sha256_file, system_errors, write_text

_KEPT = 2
_STATE, _TENSORS = "state.json", "state.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a loop needs to go on: the step to do next, tensors by role, plain numbers."""

    step: int
    states: Mapping[str, Mapping[str, torch.Tensor]]
    scalars: Mapping[str, float]


class State(Record):
    """What `state.json` holds: all but the tensors, of which it has the SHA-256.

    >>> State(step=5, scalars={}, roles=("policy",), sha256="...").seal
    '52be150727695e2a'
    """

    step: int
    scalars: dict[str, float]
    roles: tuple[str, ...]
    sha256: str

    @property
    def seal(self) -> str:
        """A hash over everything."""
        return content_id(self)


class Sealed(Record):
    """A state and its seal, which no longer fits when either has changed."""

    state: State
    seal: str


class Checkpoints:
    """The checkpoints of one stage: one every `every` steps, the last two kept."""

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every

    def due(self, step: int) -> bool:
        """Whether a loop that has finished `step` steps should save."""
        return step % self.every == 0

    def save(self, checkpoint: Checkpoint) -> None:
        """Write to a temporary folder, rename it into place, then drop what is too old."""
        target = self.folder / _folder_name(checkpoint.step)
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        flat = {
            f"{role}/{name}": tensor.detach().clone().contiguous().cpu()
            for role, state in checkpoint.states.items()
            for name, tensor in state.items()
        }
        with system_errors(partial):
            save_file(flat, partial / _TENSORS)
        state = State(
            step=checkpoint.step,
            scalars=dict(checkpoint.scalars),
            roles=tuple(sorted(checkpoint.states)),
            sha256=sha256_file(partial / _TENSORS),
        )
        sealed = Sealed(state=state, seal=state.seal)
        write_text(partial / _STATE, sealed.model_dump_json(indent=1))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for old in self._complete()[:-_KEPT]:
            shutil.rmtree(old)

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint; a damaged one is refused, not silently skipped."""
        complete = self._complete()
        if not complete:
            return None
        folder = complete[-1]
        state = _intact(folder)
        if state is None:
            raise DataError(
                "the checkpoint is damaged: it is not what was written",
                source=str(folder),
                remedy="delete that folder to resume from the one before it, or from the start "
                "when there is none",
            )
        states: dict[str, dict[str, torch.Tensor]] = {role: {} for role in state.roles}
        for name, tensor in load_file(folder / _TENSORS).items():
            role, _, rest = name.partition("/")
            states[role][rest] = tensor
        return Checkpoint(step=state.step, states=states, scalars=state.scalars)

    def clear(self) -> None:
        """Remove all checkpoints: the stage is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.glob("step-*") if p.suffix != ".partial")


def _folder_name(step: int) -> str:
    return f"step-{step:07d}"


def _intact(folder: Path) -> State | None:
    """The state in a checkpoint's folder; None unless all of it is what was written there."""
    try:
        sealed = Sealed.model_validate_json((folder / _STATE).read_bytes())
        tensors = sha256_file(folder / _TENSORS)
    except (FileNotFoundError, ValidationError):
        return None
    state = sealed.state
    intact = sealed.seal == state.seal and tensors == state.sha256
    return state if intact and folder.name == _folder_name(state.step) else None
