"""Supervised fine-tuning: negative log-likelihood of response tokens."""

from typing import Literal

import torch

from palate.batches.metrics import Mean, Metrics
from palate.interfaces import Loss, Outputs
from palate.maths import reductions

Reduction = Literal["token_mean", "sequence_mean"]


def loss(outputs: Outputs, mask: torch.Tensor, *, reduction: Reduction) -> Loss:
    """-log pi(token) over the tokens that `mask` counts, nats.

    `token_mean` weighs every token of the global batch alike; `sequence_mean` weighs responses
    alike, which has a length-weighted optimum instead of the data distribution.
    """
    reduce = {"token_mean": reductions.token_mean, "sequence_mean": reductions.sequence_mean}
    total = reduce[reduction](-outputs.logprobs, mask)
    nll = reductions.token_mean(-outputs.logprobs.detach(), mask)
    return Loss(
        sum=total.sum,
        weight=total.weight,
        metrics=Metrics({"sft/nll": Mean(float(nll.sum), nll.weight)}),
    )
