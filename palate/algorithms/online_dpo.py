"""Direct preference optimization on the policy's own samples (Guo 2024, arXiv:2402.04792).

Every pair of a prompt's responses is labeled by their scores, and the loss is that of DPO. As in
the paper, no gradient passes through sampling: the responses are the data of one update.
"""

from palate.algorithms.dpo import averaged, terms
from palate.algorithms.rlhf import policy_metrics, scores_of, without_critic
from palate.batches.experience import Experience, Rollouts
from palate.batches.pairs import scored_pairs
from palate.config.onpolicy import OnlineDpoConfig
from palate.interfaces import Loss, Outputs
from palate.maths import preference
from palate.maths.advantages import leave_one_out, on_tokens
from palate.maths.reductions import Reduced, masked_sum


def prepare(rollouts: Rollouts, config: OnlineDpoConfig, *, kl_coef: float) -> Experience:
    """The shaped scores; the advantages (score less the mean of the others') are for reports."""
    del kl_coef
    advantages = leave_one_out(scores_of(rollouts, config), rollouts.group_index)
    return without_critic(rollouts, on_tokens(advantages, rollouts.mask), config)


def loss(
    outputs: Outputs, experience: Experience, config: OnlineDpoConfig, *, kl_coef: float
) -> Loss:
    """DPO on all pairs, P(a preferred to b) = sigmoid((s_a - s_b) / noise)."""
    del kl_coef
    pairs = scored_pairs(experience.scores, experience.group_index, noise=config.noise)
    ref_logprob = masked_sum(experience.ref_logprobs, experience.mask)
    responses = terms(outputs, experience.mask, ref_logprob)
    margin = preference.margin(responses.logratio[pairs.winner], responses.logratio[pairs.loser])
    per_pair = preference.sigmoid(margin, pairs.probability, pairs.margin, beta=config.beta)
    averages = averaged(per_pair, responses, pairs, beta=config.beta)
    total = Reduced(sum=averages.sum, weight=averages.weight)
    metrics = averages.metrics + policy_metrics(outputs, experience, total)
    return Loss(sum=total.sum, weight=total.weight, metrics=metrics)
