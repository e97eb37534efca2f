"""What on-policy algorithms learn from: rollouts as tensors, and the experience made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from palate.batches.padding import fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """One step's sampled responses, [response, time] where not said otherwise; nats.

    `sampler_logprobs` are from generation, `old_logprobs` from the learner before any update and
    `ref_logprobs` from the reference, all of the sampled token. `scores` [response] are the raw
    rewards, `finished` [response] is True where the response ended by itself, `group_index`
    [response] numbers the prompts. `values` come from the critic (zeros without one).
    """

    mask: torch.Tensor
    sampler_logprobs: torch.Tensor
    old_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor
    finished: torch.Tensor
    group_index: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What the losses of an on-policy algorithm need, without gradient.

    [response, time], but for `scores` [response], the rewards less what unfinished responses pay,
    and `group_index` [response], which numbers the prompts. `old_values` and `returns` are zeros
    for algorithms without a critic.
    """

    mask: torch.Tensor
    old_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    advantages: torch.Tensor
    old_values: torch.Tensor
    returns: torch.Tensor
    scores: torch.Tensor
    group_index: torch.Tensor

    def take(self, rows: Sequence[int], time: int) -> "Experience":
        """Some responses, cut to the `time` columns that a micro-batch has."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.mask.device)

        def part(tensor: torch.Tensor) -> torch.Tensor:
            return fitted(tensor[index], time)

        return Experience(
            mask=part(self.mask),
            old_logprobs=part(self.old_logprobs),
            ref_logprobs=part(self.ref_logprobs),
            advantages=part(self.advantages),
            old_values=part(self.old_values),
            returns=part(self.returns),
            scores=self.scores[index],
            group_index=self.group_index[index],
        )
