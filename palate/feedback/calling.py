"""How a reward function wants to be called, read off its signature when it is loaded.

One response at a time, `f(prompt, response, reference)`, or all at once as TRL does it,
`f(prompts, completions, **kwargs)`. Further parameters are fields of the prompt's row, by name.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import cast

from palate.records import Prompt, Response

RewardFunction = Callable[..., object]
"""A user's own: (prompt, response, reference) -> score, or TRL's batch signature."""

Asked = tuple[Prompt, Response]

_OWN = ("prompt", "response", "reference")
_BATCH = ("prompts", "completions", "completion_ids")
_FIELDS = ("reference", "answer", "tag")
_ONE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How many of (prompt, response, reference) go by place, what goes by name, what of it has to.

    `every` field of the row is given to a function with `**kwargs`; a `batch` is all responses.
    """

    placed: int
    named: tuple[str, ...]
    needed: tuple[str, ...]
    every: bool
    batch: bool
    messages: bool | None
    """Whether a batch function says by its annotation that completions are messages or texts."""

    def missing(self, prompt: Prompt) -> list[str]:
        """What the function needs and the prompt's row does not have."""
        there = {*_BATCH, *_OWN} if self.batch else {*_OWN}
        return [name for name in self.needed if name not in there | set(row_fields(prompt))]

    def taken(self, values: Mapping[str, object]) -> dict[str, object]:
        """The arguments by name, out of everything that there is."""
        return {k: v for k, v in values.items() if self.every or k in self.named}


def signature(name: str, function: RewardFunction) -> Signature:
    """How to call a reward function; one that wants something else is refused."""
    parameters = list(inspect.signature(function).parameters.values())
    batch = any(p.name in ("prompts", "completions") for p in parameters)
    by_place = [p.name for p in parameters if p.kind in _ONE][:3]
    in_order = len(by_place) == 3 and all(
        given == own or given not in _OWN for given, own in zip(by_place, _OWN, strict=True)
    )
    placed = 3 if in_order and not batch else 0
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        placed = 3
    others = [p for p in parameters if p.kind in _ONE][placed:]
    others += [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    unnamed = any(p.kind is Parameter.POSITIONAL_ONLY for p in others)
    if unnamed or not (batch or placed or any(p.name == "response" for p in others)):
        raise ValueError(
            f"reward {name} takes ({', '.join(map(str, parameters))}), which palate cannot call. "
            "Remedy: write f(prompt, response, reference) and further fields of the row by name, "
            "or f(prompts, completions, **kwargs) that returns a list"
        )
    said = next((str(p.annotation) for p in parameters if p.name == "completions"), "")
    return Signature(
        placed=placed,
        named=tuple(p.name for p in others),
        needed=tuple(p.name for p in others if p.default is Parameter.empty),
        every=any(p.kind is Parameter.VAR_KEYWORD for p in parameters),
        batch=batch,
        messages="dict" in said.lower() if "str" in said else None,
    )


def row_fields(prompt: Prompt) -> dict[str, object]:
    """The fields of a prompt's row beside what is asked; `answer` is the reference."""
    further = cast("dict[str, object]", json.loads(prompt.extra) if prompt.extra else {})
    return {"reference": prompt.reference, "answer": prompt.reference, "tag": prompt.tag} | further


def call_one(function: RewardFunction, how: Signature, asked: Asked) -> object:
    """What a function returns for one response."""
    prompt, response = asked
    own = (prompt.text, response.text, prompt.reference)
    by_name = dict(zip(_OWN, own, strict=True)) | row_fields(prompt)
    if how.placed:
        by_name = {k: v for k, v in by_name.items() if k not in _OWN}
    return function(*own[: how.placed], **how.taken(by_name))


def call_all(function: RewardFunction, how: Signature, asked: Sequence[Asked]) -> object:
    """What a function in TRL's style returns for all responses at once."""
    rows = [row_fields(prompt) for prompt, _ in asked]
    columns = dict.fromkeys(name for row in rows for name in row)
    as_messages = [_as_messages(prompt, how) for prompt, _ in asked]
    values: dict[str, object] = {name: [row.get(name) for row in rows] for name in columns}
    values["prompts"] = [
        [{"role": m.role, "content": m.content} for m in prompt.messages] if turns else prompt.text
        for (prompt, _), turns in zip(asked, as_messages, strict=True)
    ]
    values["completions"] = [
        [{"role": "assistant", "content": response.text}] if turns else response.text
        for (_, response), turns in zip(asked, as_messages, strict=True)
    ]
    values["completion_ids"] = [list(response.token_ids) for _, response in asked]
    return function(**how.taken(values))


def _as_messages(prompt: Prompt, how: Signature) -> bool:
    """A function says so by its annotation; else one user turn is text, and more are messages."""
    return how.messages if how.messages is not None else len(prompt.messages) > 1


def awaited(values: Sequence[object]) -> list[object]:
    """The values, with those of async functions computed together."""
    if not any(inspect.isawaitable(value) for value in values):
        return list(values)

    async def all_of_them() -> list[object]:
        return await asyncio.gather(*(_settled(value) for value in values))

    return asyncio.run(all_of_them())


async def _settled(value: object) -> object:
    return await cast("Awaitable[object]", value) if inspect.isawaitable(value) else value
