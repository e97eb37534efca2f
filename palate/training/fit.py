"""The loop over fixed data: pretraining, SFT, reward models and the DPO family."""

from collections.abc import Callable, Sequence

from palate.batches.groups import TokenGroup
from palate.interfaces import LossOf
from palate.training.checkpoints import Checkpoint, Checkpoints
from palate.training.learner import LocalLearner
from palate.training.monitor import Monitor
from palate.training.order import batch_indices

LossFor = Callable[[Sequence[int]], LossOf]
"""Dataset indices of a batch -> the loss of that batch."""


def fit(
    learner: LocalLearner,
    groups: Sequence[TokenGroup],
    loss_for: LossFor,
    *,
    batch: int,
    run_seed: int,
    monitor: Monitor,
    checkpoints: Checkpoints,
) -> None:
    """Run the learner's `total_updates`, going on from the latest checkpoint if there is one."""
    saved = checkpoints.latest()
    if saved:
        learner.load_state(saved.states["model"])
    for update in range(learner.updates, learner.total_updates):
        indices = batch_indices(len(groups), update, batch=batch, run_seed=run_seed)
        result = learner.update([groups[i] for i in indices], loss_for(indices))
        values = result.metrics.values()
        values |= {"optimizer/grad_norm": result.grad_norm, "optimizer/lr": result.lr}
        monitor.log(update, learner.total_updates, values)
        if checkpoints.due(update + 1) and update + 1 < learner.total_updates:
            states = {"model": learner.state()}
            checkpoints.save(Checkpoint(step=update + 1, states=states, scalars={}))
