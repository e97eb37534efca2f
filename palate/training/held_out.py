"""Held-out rows, measured while a model trains: the best weights, and when to stop early."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from palate.maths.seeds import seed
from palate.training.checkpoints import Checkpoint
from palate.training.examples import Examples
from palate.training.learner import LocalLearner
from palate.training.order import split

_CRITERIA = ("held_out/loss", "held_out/nll")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How often held-out rows are measured, how many of them (0: all), and to what end.

    Training ends early when `patience` measurements in a row bring no new best (0: never).
    """

    every: int
    rows: int
    keep: Literal["last", "best"]
    patience: int


@dataclass(slots=True)
class HeldOut:
    """Held-out rows of one training, and the best that they have said so far."""

    examples: Examples
    measuring: Measuring
    run_seed: int
    best: float = math.inf
    best_update: int = 0
    waited: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])

    def due(self, update: int) -> bool:
        """Whether the rows are measured before update number `update`."""
        return update % self.measuring.every == 0

    @property
    def exhausted(self) -> bool:
        """Whether training should end."""
        return 0 < self.measuring.patience <= self.waited

    def look(self, learner: LocalLearner) -> dict[str, float]:
        """Measure some rows, the same every time, and remember the weights that are best."""
        groups = self.examples.groups
        (order,) = split(len(groups), parts=1, run_seed=seed(self.run_seed, "held_out"))
        values = measure(learner, self.examples, sorted(order[: self.measuring.rows or None]))
        loss = next(values[name] for name in _CRITERIA if name in values)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the held-out loss is {loss} at update {learner.updates}; lower optimizer.lr or "
                "set compute.precision=fp32"
            )
        if loss < self.best:
            self.best, self.best_update, self.waited = loss, learner.updates, 0
            if self.measuring.keep == "best":
                self.weights = {n: w.detach().clone() for n, w in learner.weights().items()}
        else:
            self.waited += 1
        return values

    def restore(self, learner: LocalLearner) -> None:
        """Give the learner the best weights, where those are kept."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                learner.weights()[name].copy_(weight)

    def scalars(self) -> dict[str, float]:
        """What a checkpoint keeps beside the best weights."""
        return {"best": self.best, "best_update": self.best_update, "waited": self.waited}

    def load(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.best = saved.scalars["best"]
        self.best_update = int(saved.scalars["best_update"])
        self.waited = int(saved.scalars["waited"])
        self.weights = dict(saved.states.get("best", {}))


def measure(
    learner: LocalLearner, examples: Examples, rows: list[int] | None = None
) -> dict[str, float]:
    """The loss's metrics on all examples, or on these, under `held_out/`."""
    chosen = list(range(len(examples.groups))) if rows is None else rows
    groups = [examples.groups[i] for i in chosen]
    metrics = learner.measure(groups, examples.loss_for(chosen))
    return {f"held_out/{name.partition('/')[2]}": v for name, v in metrics.values().items()}
