"""The fields of a row as text, numbers, messages and prompts, or a `RowError` that says why not."""

import json
import math
import re
from collections.abc import Callable
from datetime import date
from typing import cast

from palate.records import LARGEST, Message, Prompt, Role
from palate.store.errors import RowError, described
from palate.store.tables import Row

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_SHAREGPT_ROLES: dict[str, Role] = {
    **_ROLES,
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
}
_PROMPT_FIELDS = frozenset(
    [
        "prompt",
        "prompt_ids",
        "messages",
        "question",
        "problem",
        "instruction",
        "input",
        "history",
        "text",
        "system",
        "system_prompt",
        "reference",
        "answer",
        "tag",
        "responses",
    ]
)
_FOLLOWERS: dict[Role | None, tuple[Role, ...]] = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}


def text(value: object, field: str) -> str:
    """Text, possibly empty."""
    if isinstance(value, date):
        raise RowError(
            f"the datasets library took the text for a date ({value})",
            field=field,
            remedy="download the file and name it here: local files are read as they are",
        )
    if not isinstance(value, str):
        raise RowError(f"expected text, found {described(value)}", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"character {error.start + 1} is half of a surrogate pair"
        raise RowError(problem, field=field, remedy="repair the encoding") from error
    return value


def filled_text(value: object, field: str) -> str:
    """Text that says something: empty and blank text are refused, the rest is kept as it is."""
    filled = text(value, field)
    if not filled.strip():
        raise RowError("is empty", field=field, remedy="fill it in or leave the row out")
    return filled


def optional_text(row: Row, field: str) -> str:
    """The text of a field, empty where the field is missing or null."""
    value = row.get(field)
    return "" if value is None else text(value, field)


def number(value: object, field: str) -> float:
    """A finite number; numbers written as text (as in CSV) are read."""
    written = isinstance(value, str) and _NUMBER.fullmatch(value.strip())
    counted = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        parsed = float(cast(float, value)) if written or counted else math.nan
    except OverflowError:
        parsed = math.nan
    if not abs(parsed) <= LARGEST:
        raise RowError(f"expected a finite number, found {described(value)}", field=field)
    return parsed


def optional_number(row: Row, field: str, *, default: float) -> float:
    """The number of a field, `default` where it is missing, null or an empty cell."""
    value = row.get(field)
    return default if value is None or value == "" else number(value, field)


def items(value: object, field: str) -> list[object]:
    """A list with at least one item."""
    if not isinstance(value, list):
        raise RowError(f"expected a list, found {described(value)}", field=field)
    if not value:
        raise RowError("is empty", field=field, remedy="fill it in or leave the row out")
    return cast("list[object]", value)


def listing(row: Row, field: str) -> list[object]:
    """The list of a field; none where it is missing, null or empty."""
    return items(row[field], field) if row.get(field) not in (None, []) else []


def fields(value: object, field: str) -> Row:
    """An object inside a row."""
    if not isinstance(value, dict):
        raise RowError(f"expected an object, found {described(value)}", field=field)
    return cast(Row, value)


def messages(value: object, field: str) -> tuple[Message, ...]:
    """Turns, as {role, content} or ShareGPT's {from, value}; only a system turn may be empty."""
    return tuple(
        _message(fields(item, f"{field}[{i}]"), f"{field}[{i}]")
        for i, item in enumerate(items(value, field))
    )


_CALLS = "write calls into the content, as the model writes them, or leave the row out"
_THOUGHTS = "write the thought into the content before the answer, as the model writes it"
_TURN_CONTENT = {
    "tool_calls": _CALLS,
    "function_call": _CALLS,
    "reasoning_content": _THOUGHTS,
    "reasoning": _THOUGHTS,
    "thinking": _THOUGHTS,
}
_ROW_CONTENT = {
    "tools": "describe tools in the system turn, as the model reads them, or leave the row out",
    "functions": "describe tools in the system turn, as the model reads them",
    "images": "leave rows with pictures out",
    "image": "leave rows with pictures out",
    "videos": "leave rows with videos out",
    "audios": "leave rows with sound out",
    "chat_template_kwargs": "give the tokenizer a chat_template that has these settings",
}
_EMPTY: tuple[object, ...] = (None, "", "[]", "{}", [], {})


def nothing_lost(row: Row, names: dict[str, str] = _ROW_CONTENT, field: str = "") -> Row:
    """The row, if it holds none of the fields whose content training would have to see and that
    palate has no place for; they are refused by name."""
    for name, remedy in names.items():
        if row.get(name) not in _EMPTY:
            raise RowError(
                "is content that palate does not train on, and would be lost",
                field=f"{field}.{name}" if field else name,
                remedy=remedy,
            )
    return row


def _weighed_alike(turn: Row, field: str) -> None:
    """Refuse a turn that says it is not to be trained: which are is a setting, not data."""
    for name in ("weight", "train"):
        value = turn.get(name)
        if value not in (None, "") and (isinstance(value, str) or value != 1):
            raise RowError(
                f"is {value!r}, and palate does not weigh turns",
                field=f"{field}.{name}",
                remedy="leave the field out: train_on=last trains the last assistant turn alone, "
                "train_on=all all of them",
            )


def _message(turn: Row, field: str) -> Message:
    nothing_lost(turn, _TURN_CONTENT, field)
    _weighed_alike(turn, field)
    roles, role_field, text_field = _ROLES, "role", "content"
    if "from" in turn and "role" not in turn:
        roles, role_field, text_field = _SHAREGPT_ROLES, "from", "value"
    role = roles.get(text(turn.get(role_field), f"{field}.{role_field}"))
    if role is None:
        raise RowError(
            f"unknown role {turn[role_field]!r}",
            field=f"{field}.{role_field}",
            remedy=f"use one of {', '.join(roles)}",
        )
    read = text if role == "system" else filled_text
    return Message(role=role, content=read(turn.get(text_field), f"{field}.{text_field}"))


def in_order(turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """The turns, if their roles are in order: an optional system turn, then user and assistant
    alternate; tool turns stand between two assistant turns."""
    before: Role | None = None
    for i, turn in enumerate(turns):
        if turn.role not in _FOLLOWERS[before]:
            place = f"after {before}" if before else "first"
            raise RowError(
                f"turn {i + 1} is {turn.role}, but {place} comes {' or '.join(_FOLLOWERS[before])}",
                field=field,
                remedy="merge or drop turns until user and assistant alternate",
            )
        before = turn.role
    return turns


def answered(turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """The turns, if they are in order and end with a response."""
    if in_order(turns, field)[-1].role != "assistant":
        raise RowError(
            f"the conversation ends with {turns[-1].role}, not with a response",
            field=field,
            remedy="drop the turns after the last response",
        )
    return turns


def completion(value: object, field: str) -> str:
    """One response: text, one assistant turn, or a list of one assistant turn."""
    if isinstance(value, str):
        return filled_text(value, field)
    turns = _text_or_messages([cast(Row, value)] if isinstance(value, dict) else value, field)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise RowError(
            f"expected one assistant turn, found {', '.join(turn.role for turn in turns)}",
            field=field,
            remedy="put the turns before the last response into the prompt",
        )
    return turns[0].content


def awaiting(turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """The turns, if they are in order and a response comes next."""
    if not turns or in_order(turns, field)[-1].role not in ("user", "tool"):
        raise RowError(
            f"the prompt ends with {turns[-1].role if turns else 'nothing'}, not with a user turn",
            field=field,
            remedy="end the prompt with what is to be answered",
        )
    return turns


def asked(value: object, field: str) -> tuple[Message, ...]:
    """The turns of a prompt given as text (one user turn) or as messages."""
    if isinstance(value, str):
        return (Message(role="user", content=filled_text(value, field)),)
    return awaiting(_text_or_messages(value, field), field)


def _text_or_messages(value: object, field: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise RowError(f"expected text or messages, found {described(value)}", field=field)
    return messages(cast("list[object]", value), field)


def prompt(row: Row) -> Prompt:
    """The prompt of a row: text or messages in `prompt`, or token ids in `prompt_ids`."""
    if row.get("prompt_ids") is None:
        return prompt_of(asked(row.get("prompt"), "prompt"), row)
    if row.get("prompt") is not None:
        problem = "the row has both prompt and prompt_ids"
        raise RowError(problem, field="prompt_ids", remedy="keep one of them")
    with_system(row, (Message(role="system", content=""),))
    ids = items(row["prompt_ids"], "prompt_ids")
    if not all(type(i) is int and i >= 0 for i in ids):
        raise RowError("expected token ids, integers from 0", field="prompt_ids")
    return Prompt(
        token_ids=tuple(cast("list[int]", ids)),
        reference=_reference(row),
        tag=optional_text(row, "tag"),
    )


def with_system(row: Row, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns behind the text of the row's `system` or `system_prompt`, where there is one."""
    texts = {name: optional_text(row, name) for name in ("system", "system_prompt")}
    for name, content in texts.items():
        first = Message(role="system", content=content)
        if not content or turns[0] == first:
            continue
        if turns[0].role == "system":
            raise RowError(
                "the row has another system turn too", field=name, remedy="keep one of them"
            )
        turns = (first, *turns)
    return turns


def prompt_of(turns: tuple[Message, ...], row: Row) -> Prompt:
    """A prompt of these turns with the row's system text, reference and tag."""
    turns = with_system(row, turns)
    return Prompt(messages=turns, reference=_reference(row), tag=optional_text(row, "tag"))


def with_extra(read: Callable[[Row], Prompt]) -> Callable[[Row], Prompt]:
    """The same reader of prompts, which also keeps the fields of a row that no format knows."""

    def kept(row: Row) -> Prompt:
        further = {k: v for k, v in row.items() if k not in _PROMPT_FIELDS and v is not None}
        if not further:
            return read(row)
        extra = json.dumps(further, sort_keys=True, default=str)
        return read(row).model_copy(update={"extra": extra})

    return kept


def _reference(row: Row) -> str:
    if row.get("reference") is not None:
        return _scalar_text(row["reference"], "reference")
    return "" if row.get("answer") is None else _scalar_text(row["answer"], "answer")


def _scalar_text(value: object, field: str) -> str:
    plain_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if plain_number else text(value, field)
