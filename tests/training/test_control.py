"""What holds the policy near the reference: the measured KL, its bound, and the budget."""

import pytest
import torch

from palate.batches.experience import Rollouts
from palate.config.common import KlConfig
from palate.training.control import KlController, certified_bound, sequence_kl

NAN = float("nan")
OLD = torch.tensor([[-1.0, -2.0], [-0.5, NAN], [-1.5, -0.25], [-2.0, NAN]])
REFERENCE = torch.tensor([[-1.5, -2.25], [-1.0, NAN], [-1.0, -0.75], [-2.25, NAN]])
KL = [0.75, 0.5, 0.0, 0.25]


def rollouts() -> Rollouts:
    nothing = torch.zeros(4, 2)
    return Rollouts(
        mask=~OLD.isnan(),
        sampler_logprobs=OLD,
        old_logprobs=OLD,
        ref_logprobs=REFERENCE,
        values=nothing,
        scores=nothing[:, 0],
        finished=nothing[:, 0] == 0,
        group_index=torch.tensor([0, 0, 1, 1]),
    )


def test_the_kl_of_a_response_is_k1_summed_over_its_tokens():
    assert sequence_kl(rollouts()).tolist() == KL


def test_the_bound_is_students_over_prompts():
    """Means of 0.625 and 0.125 from two prompts: 0.375 + 6.314 * 0.25."""
    assert certified_bound(rollouts()) == pytest.approx(0.375 + 6.3138 * 0.25, rel=1e-4)


@pytest.mark.parametrize(
    ("control", "coef"),
    [("soft", 0.1), ("adaptive", 0.1 * (1 + 0.2 * 4 / 80)), ("hard", 0.1 * 2.718281828**0.025)],
)
def test_the_coefficient_rises_above_the_target(control, coef):
    config = KlConfig(control=control, coef=0.1, target=0.25, horizon=80, dual_lr=0.1)
    controller = KlController(config)
    controller.step(rollouts(), decay=0.5)
    assert controller.coef == pytest.approx(coef, rel=1e-6)


def test_only_a_hard_budget_can_be_exceeded():
    controllers = {c: KlController(KlConfig(control=c, target=0.25)) for c in ("soft", "hard")}
    assert controllers["hard"].over_budget(0.26)
    assert not controllers["hard"].over_budget(0.25)
    assert not controllers["soft"].over_budget(9.0)
