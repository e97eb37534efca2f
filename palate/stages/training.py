"""The body that stages over fixed data share: schedule, checkpoints, the loop, and measurement."""

from typing import NamedTuple

from palate.config.common import HeldOutConfig
from palate.config.stages import DpoConfig, PretrainConfig, RewardConfig, SftConfig
from palate.models.roles import Role
from palate.stages.context import StageContext
from palate.store.errors import DataError
from palate.store.runs import CHECKPOINTS
from palate.training.checkpoints import Checkpoints
from palate.training.examples import Examples
from palate.training.fit import fit
from palate.training.held_out import HeldOut, Measuring, measure
from palate.training.learner import LocalLearner
from palate.training.order import num_updates

FixedConfig = SftConfig | RewardConfig | DpoConfig
_MEASUREMENTS = 5


class Trained(NamedTuple):
    """A trained model, and what the stage's summary says of its training."""

    learner: LocalLearner
    summary: dict[str, float]


def train(
    config: PretrainConfig | FixedConfig,
    context: StageContext,
    role: Role,
    examples: Examples,
    *,
    batch: int,
    held: Examples | None = None,
) -> Trained:
    """Train a role on examples; held-out ones are measured on the way and, all of them, at last."""
    learner = LocalLearner(
        role,
        config.optimizer,
        total_updates=num_updates(
            len(examples.groups),
            batch=batch,
            epochs=config.epochs,
            at_most=config.max_updates,
        ),
        budget=config.compute.micro_batch_tokens,
    )
    watched = None
    if isinstance(config, HeldOutConfig):
        watched = _watched(config, context, held, learner.total_updates)
    fit(
        learner,
        examples,
        batch=batch,
        run_seed=context.seed,
        monitor=context.monitor,
        checkpoints=Checkpoints(
            context.folder.folder(CHECKPOINTS), every=config.checkpoint_updates
        ),
        held=watched,
    )
    summary = {"updates": float(learner.updates)}
    if watched:
        summary |= measure(learner, watched.examples)
        summary |= {
            "held_out/rows": float(len(watched.examples.groups)),
            "held_out/best_update": float(watched.best_update),
        }
    return Trained(learner, summary)


def _watched(
    config: HeldOutConfig, context: StageContext, held: Examples | None, updates: int
) -> HeldOut | None:
    """The held-out examples to measure; None where there are none."""
    if not held or not held.groups:
        if config.keep == "best" or config.patience:
            raise DataError(
                "no rows are held out, so nothing says which weights are best",
                source=context.name,
                remedy='raise held_out_fraction, or set keep = "last" and patience = 0',
            )
        return None
    measuring = Measuring(
        every=config.evaluate_updates or -(-updates // _MEASUREMENTS),
        rows=config.evaluate_rows,
        keep=config.keep,
        patience=config.patience,
    )
    return HeldOut(examples=held, measuring=measuring, run_seed=context.seed)


def last_value(context: StageContext, name: str) -> float:
    """The value of a metric in the last update that logged it."""
    return next(line[name] for line in reversed(context.folder.metrics()) if name in line)
