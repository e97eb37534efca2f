"""The loop over fixed data: the right loss for every batch, and resuming equals never stopping."""

from pathlib import Path

import pytest
import torch

from palate.algorithms import sft
from palate.batches.groups import TokenGroup
from palate.batches.padding import response_mask
from palate.config.common import OptimizerConfig
from palate.models.roles import PlainPolicyRole
from palate.training.checkpoints import Checkpoints
from palate.training.fit import fit
from palate.training.learner import LocalLearner, read_all
from palate.training.order import batch_indices
from palate.verify.loops import History
from tests.models.tiny import BOS, EOS, tiny_network
from tests.training.stops import Interrupted, StopsAt

GROUPS = [
    TokenGroup(
        id=str(i),
        prompt=(BOS, 5 + i),
        responses=((*range(6, 7 + i), EOS),),
        masks=((*(t % (2 + i) != 1 for t in range(1 + i)), True),),
    )
    for i in range(5)
]


def loss_for(rows):
    def loss(outputs, indices):
        mask = response_mask([GROUPS[rows[i]] for i in indices])
        return sft.loss(outputs, mask, reduction="token_mean")

    return loss


def run(family: str, folder: Path, monitor: History) -> LocalLearner:
    """Three passes over five groups in batches of two: nine updates, a checkpoint after each 4."""
    role = PlainPolicyRole(tiny_network(family), layout="tree", temperature=1.0)
    config = OptimizerConfig(lr=1e-2, warmup_fraction=0.3)
    learner = LocalLearner(role, config, total_updates=9, budget=32)
    checkpoints = Checkpoints(folder, every=4)
    fit(learner, GROUPS, loss_for, batch=2, run_seed=7, monitor=monitor, checkpoints=checkpoints)
    return learner


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_resuming_in_the_middle_of_a_pass_equals_never_stopping(family, tmp_path):
    whole, stopped, rest = History(), StopsAt(6), History()
    expected = run(family, tmp_path / "whole", whole)
    with pytest.raises(Interrupted):
        run(family, tmp_path / "broken", stopped)
    resumed = run(family, tmp_path / "broken", rest)
    for name, weight in expected.weights().items():
        assert torch.equal(resumed.weights()[name], weight), name
    assert rest.values == {name: values[4:] for name, values in whole.values.items()}


def test_the_loss_is_that_of_the_batch(tmp_path):
    monitor = History()
    run("gpt2", tmp_path, monitor)
    rows = batch_indices(5, 0, batch=2, run_seed=7)
    assert rows != sorted(rows)
    groups = [GROUPS[i] for i in rows]
    role = PlainPolicyRole(tiny_network("gpt2"), layout="tree", temperature=1.0)
    mask = response_mask(groups)
    by_hand = -read_all(role, groups, budget=10_000).logprobs[mask].mean()
    assert monitor.values["sft/nll"][0] == pytest.approx(float(by_hand), rel=1e-5)
