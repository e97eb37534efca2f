"""The loop over fixed data: pretraining, SFT, reward models and the DPO family."""

from palate.training.checkpoints import Checkpoint, Checkpoints
from palate.training.examples import Examples
from palate.training.held_out import HeldOut
from palate.training.learner import LocalLearner
from palate.training.monitor import Monitor
from palate.training.order import batch_indices
from palate.training.stops import StopRequests


def fit(
    learner: LocalLearner,
    examples: Examples,
    *,
    batch: int,
    run_seed: int,
    monitor: Monitor,
    checkpoints: Checkpoints,
    held: HeldOut | None = None,
) -> None:
    """Run the learner's `total_updates`, going on from the latest checkpoint if there is one.

    Held-out rows are measured before updates and after the last one; they may end it early. Who
    asks to stop gets a checkpoint of the update that is done.
    """
    groups, total = examples.groups, learner.total_updates
    _resume(learner, checkpoints, held)
    with StopRequests() as stop:
        while True:
            update = learner.updates
            ended = update == total
            values = held.look(learner) if held and (ended or held.due(update)) else {}
            if ended or (held and held.exhausted):
                break
            indices = batch_indices(len(groups), update, batch=batch, run_seed=run_seed)
            result = learner.update([groups[i] for i in indices], examples.loss_for(indices))
            values |= result.metrics.values()
            values |= {"optimizer/grad_norm": result.grad_norm, "optimizer/lr": result.lr}
            monitor.log(update, total, values)
            if stop.received or (checkpoints.due(update + 1) and update + 1 < total):
                checkpoints.save(_checkpoint(learner, held))
            stop.leave()
        if stop.received:
            checkpoints.save(_checkpoint(learner, held))
        stop.leave()
    if held:
        monitor.log(learner.updates, total, values)
        held.restore(learner)


def _checkpoint(learner: LocalLearner, held: HeldOut | None) -> Checkpoint:
    states = {"model": learner.state()}
    if held and held.weights:
        states["best"] = held.weights
    scalars = held.scalars() if held else {}
    return Checkpoint(step=learner.updates, states=states, scalars=scalars)


def _resume(learner: LocalLearner, checkpoints: Checkpoints, held: HeldOut | None) -> None:
    saved = checkpoints.latest()
    if saved:
        learner.load_state(saved.states["model"])
        if held:
            held.load(saved)
