"""Scorers: anything that turns a group into numbers. Reward models, verifiers, any function."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

from palate.batches.groups import TokenGroup
from palate.feedback.calling import (
    Asked,
    RewardFunction,
    awaited,
    call_all,
    call_one,
    row_fields,
    signature,
)
from palate.feedback.functions import blame
from palate.models.tokens import Encoder
from palate.records import Group, Prompt, Response

T = TypeVar("T")

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
    """Any Python function of a response, or of all of them at once (`feedback/calling.py`)."""

    def __init__(self, name: str, function: RewardFunction) -> None:
        self.name, self.function = name, function
        self.how = signature(name, function)

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """The function's value for every response; it must be a finite number."""
        return self._rows(groups, self._number)

    def applied(self, groups: Sequence[Group]) -> list[tuple[float | None, ...]]:
        """The same for one reward among others: in TRL's style None says "does not apply"."""
        return self._rows(groups, self._optional)

    def check(self, prompt: Prompt) -> None:
        """Refuses a prompt whose row lacks a field that the function asks for."""
        missing = self.how.missing(prompt)
        if missing:
            there = ", ".join(row_fields(prompt))
            raise ValueError(
                f"reward {self.name} wants {', '.join(missing)}, and the row of the prompt "
                f"{prompt.text[:80]!r} has {there}. Remedy: add the field to the rows, or give the "
                "parameter a default"
            )

    def _rows(
        self, groups: Sequence[Group], read: Callable[[object, Asked], T]
    ) -> list[tuple[T, ...]]:
        asked = [(group.prompt, response) for group in groups for response in group.responses]
        for prompt, _ in asked:
            self.check(prompt)
        values = iter([read(v, one) for v, one in zip(self._values(asked), asked, strict=True)])
        return [tuple(next(values) for _ in group.responses) for group in groups]

    def _values(self, asked: Sequence[Asked]) -> list[object]:
        if not self.how.batch:
            return self._awaited([self._one(one) for one in asked], asked)
        try:
            (values,) = awaited([call_all(self.function, self.how, asked)])
        except Exception as error:
            raise self._failed(asked[0], error) from error
        found = list(values) if isinstance(values, Iterable) else []
        if len(found) != len(asked) or isinstance(values, str):
            raise ValueError(
                f"reward {self.name} returned {repr(values)[:80]} for {len(asked)} completions. "
                "Remedy: return a list with one number per completion"
            )
        return found

    def _one(self, asked: Asked) -> object:
        try:
            return call_one(self.function, self.how, asked)
        except Exception as error:
            raise self._failed(asked, error) from error

    def _awaited(self, values: list[object], asked: Sequence[Asked]) -> list[object]:
        try:
            return awaited(values)
        except Exception as error:
            raise self._failed(asked[0], error) from error

    def _failed(self, asked: Asked, error: Exception) -> ValueError:
        prompt, response = asked
        return ValueError(
            f"reward {self.name} failed on prompt {prompt.id} ({prompt.text[:80]!r}), response "
            f"{response.text[:80]!r}: {blame(error)}. "
            "Remedy: correct the function, or let it return a number for what it cannot score."
        )

    def _optional(self, value: object, asked: Asked) -> float | None:
        return None if value is None and self.how.batch else self._number(value, asked)

    def _number(self, value: object, asked: Asked) -> float:
        try:
            number = float(cast(float, value)) if hasattr(value, "__float__") else math.nan
        except (TypeError, ValueError, RuntimeError):  # an array or tensor of several numbers
            number = math.nan
        if not math.isfinite(number):
            prompt, response = asked
            raise ValueError(
                f"reward {self.name} returned {value!r} for the response {response.text[:80]!r} to "
                f"the prompt {prompt.text[:80]!r}. Remedy: return a finite number."
            )
        return number
