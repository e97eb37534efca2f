"""Bradley-Terry reward modelling on groups (Ouyang 2022, arXiv:2203.02155, eq. 1).

All judged pairs of one prompt's k responses are one batch element; each response is scored once.
"""

from palate.batches.metrics import Mean, Metrics
from palate.batches.pairs import Pairs
from palate.config.stages import RewardConfig
from palate.interfaces import Loss, Outputs
from palate.maths.reward import bradley_terry, smoothed


def loss(outputs: Outputs, pairs: Pairs, config: RewardConfig) -> Loss:
    """-log sigmoid(r_w - r_l - margin), averaged within a group, then over groups."""
    difference = outputs.scores[pairs.winner] - outputs.scores[pairs.loser]
    probability = smoothed(pairs.probability, smoothing=config.label_smoothing)
    per_pair = bradley_terry(difference, probability, config.margin_coef * pairs.margin)
    decided = pairs.probability != 0.5
    right = ((difference > 0) == (pairs.probability > 0.5)) & decided
    total = (pairs.weight * per_pair).sum()
    return Loss(
        sum=total,
        weight=pairs.num_groups,
        metrics=Metrics(
            {
                "reward/loss": Mean(float(total.detach()), pairs.num_groups),
                "reward/accuracy": Mean(float(right.sum()), float(decided.sum())),
                "reward/difference": Mean(
                    float(difference.detach().double().sum()), float(len(difference))
                ),
            }
        ),
    )
