"""Resumable checkpoints: safetensors and JSON in a folder that appears only when it is complete."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from palate.store.files import sha256_file, system_errors, write_text

_KEPT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a loop needs to go on: the step to do next, tensors by role, plain numbers."""

    step: int
    states: Mapping[str, Mapping[str, torch.Tensor]]
    scalars: Mapping[str, float]


class Checkpoints:
    """The checkpoints of one stage: one every `every` steps, the last two kept."""

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every

    def due(self, step: int) -> bool:
        """Whether a loop that has finished `step` steps should save."""
        return step % self.every == 0

    def save(self, checkpoint: Checkpoint) -> None:
        """Write to a temporary folder, rename it into place, then drop what is too old."""
        target = self.folder / f"step-{checkpoint.step:07d}"
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        flat = {
            f"{role}/{name}": tensor.detach().clone().contiguous().cpu()
            for role, state in checkpoint.states.items()
            for name, tensor in state.items()
        }
        with system_errors(partial):
            save_file(flat, partial / "state.safetensors")
        meta = {
            "step": checkpoint.step,
            "scalars": dict(checkpoint.scalars),
            "roles": sorted(checkpoint.states),
            "sha256": sha256_file(partial / "state.safetensors"),
        }
        write_text(partial / "state.json", json.dumps(meta, indent=1, sort_keys=True))
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
        try:
            meta = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            intact = sha256_file(folder / "state.safetensors") == meta["sha256"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise ValueError(
                f"{folder} is damaged: it is not what was written. Remedy: delete that folder to "
                "resume from the one before it, or from the start when there is none."
            )
        states: dict[str, dict[str, torch.Tensor]] = {role: {} for role in meta["roles"]}
        for name, tensor in load_file(folder / "state.safetensors").items():
            role, _, rest = name.partition("/")
            states[role][rest] = tensor
        return Checkpoint(step=meta["step"], states=states, scalars=meta["scalars"])

    def clear(self) -> None:
        """Remove all checkpoints: the stage is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.glob("step-*") if p.suffix != ".partial")
