"""Scorers: anything that turns a group into numbers. Reward models, verifiers, any function."""

import math
from collections.abc import Callable, Sequence

from palate.batches.groups import TokenGroup
from palate.feedback.functions import blame
from palate.models.tokens import Encoder
from palate.records import Group, Response

RewardFunction = Callable[[str, str, str], float]
"""(prompt, response, reference) -> score."""

ReadScores = Callable[[Sequence[TokenGroup]], Sequence[float]]
"""Token groups -> one score per response, in order."""


class RewardModelScorer:
    """A trained reward model. Scores are centred: its reference samples have mean 0.

    With `policy_ids` (same tokenizer) the very ids that were sampled are scored, else the text.
    """

    def __init__(
        self, name: str, read: ReadScores, encoder: Encoder, *, center: float, policy_ids: bool
    ) -> None:
        self.name, self.read, self.encoder = name, read, encoder
        self.center, self.policy_ids = center, policy_ids

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """Centred scores of every response of every group."""
        known = groups if self.policy_ids else [without_ids(group) for group in groups]
        scores = self.read([self.encoder.encode_group(group) for group in known])
        if not all(map(math.isfinite, scores)):
            raise ValueError(
                f"reward model {self.name} gave a score that is no finite number. Remedy: look at "
                "its training, or score with compute.precision = fp32"
            )
        raw = iter(scores)
        return [tuple(next(raw) - self.center for _ in group.responses) for group in groups]


def without_ids(group: Group) -> Group:
    """The same group as text only: for models that have another tokenizer."""
    responses = tuple(
        Response(text=r.text, finish=r.finish, policy=r.policy) for r in group.responses
    )
    return Group(prompt=group.prompt, responses=responses)


class FunctionScorer:
    """Any Python function of (prompt, response, reference)."""

    def __init__(self, name: str, function: RewardFunction) -> None:
        self.name, self.function = name, function

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """The function's value for every response; it must be a finite number."""
        return [tuple(self._one(group, r) for r in group.responses) for group in groups]

    def _one(self, group: Group, response: Response) -> float:
        try:
            value = self.function(group.prompt.text, response.text, group.prompt.reference)
        except Exception as error:
            raise ValueError(
                f"reward {self.name} failed on prompt {group.prompt.id} "
                f"({group.prompt.text[:80]!r}), response {response.text[:80]!r}: {blame(error)}. "
                "Remedy: correct the function, or let it return a number for what it cannot score."
            ) from error
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(
                f"reward {self.name} returned {value!r} for the response {response.text[:80]!r} to "
                f"the prompt {group.prompt.text[:80]!r}. Remedy: return a finite number."
            )
        return float(value)
