"""Bradley-Terry reward modelling on groups (Ouyang 2022, arXiv:2203.02155, eq. 1).

All judged pairs of one prompt's k responses are one batch element; each response is scored once.
"""

import torch

from palate.batches.metrics import Mean, Metrics
from palate.batches.pairs import Pairs
from palate.config.stages import RewardConfig
from palate.interfaces import Loss, Outputs
from palate.maths.reward import bradley_terry, smoothed


def loss(
    outputs: Outputs, pairs: Pairs, config: RewardConfig, lengths: torch.Tensor | None = None
) -> Loss:
    """-log sigmoid(r_w - r_l - margin), averaged within a group, then over groups.

    `prefix_coef` times the same is added for the mean of the scores before each token, which shows
    the model where two responses begin to differ (after the token-level verifiers of Cobbe 2021,
    arXiv:2110.14168). That needs `lengths`, [response]: how many tokens each has.
    """
    difference = outputs.scores[pairs.winner] - outputs.scores[pairs.loser]
    whole = total = _mean_loss(difference, pairs, config)
    if config.prefix_coef:
        assert lengths is not None, "scores before tokens are averaged over lengths"
        means = outputs.values.sum(dim=1) / lengths
        before = _mean_loss(means[pairs.winner] - means[pairs.loser], pairs, config)
        total = whole + config.prefix_coef * before
    decided = pairs.probability != 0.5
    right = ((difference > 0) == (pairs.probability > 0.5)) & decided
    return Loss(
        sum=total,
        weight=pairs.num_groups,
        metrics=Metrics(
            {
                "reward/loss": Mean(float(whole.detach()), pairs.num_groups),
                "reward/accuracy": Mean(float(right.sum()), float(decided.sum())),
                "reward/difference": Mean(
                    float(difference.detach().double().sum()), float(len(difference))
                ),
            }
        ),
    )


def _mean_loss(difference: torch.Tensor, pairs: Pairs, config: RewardConfig) -> torch.Tensor:
    """The mean over each group's pairs, summed over groups."""
    probability = smoothed(pairs.probability, smoothing=config.label_smoothing)
    per_pair = bradley_terry(difference, probability, config.margin_coef * pairs.margin)
    return (pairs.weight * per_pair).sum()
