"""Rows into prompts, demonstrations, unpaired responses and groups: one function per format.

The formats are those of TRL's "Dataset formats" page, of Alpaca and of ShareGPT.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from palate.records import (
    Demonstration,
    Group,
    Message,
    Prompt,
    Record,
    Response,
    Unpaired,
)
from palate.store.errors import RowError, described
from palate.store.formats.fields import (
    answered,
    asked,
    awaiting,
    completion,
    fields,
    filled_text,
    items,
    messages,
    optional_text,
    prompt,
    prompt_of,
    with_extra,
    with_system,
)
from palate.store.tables import Row

R = TypeVar("R", bound=Record)


def validated(model: type[R], value: object, field: str) -> R:
    """A record from its own fields: the lossless format."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(name) for name in (field, *first["loc"]) if name != "")
        raise RowError(first["msg"], field=place, remedy="export the file again") from error


def own_prompt(row: Row) -> Prompt:
    """A prompt as stages write it, with all of its fields."""
    return validated(Prompt, row, "")


def _user(content: str) -> tuple[Message, ...]:
    return (Message(role="user", content=content),)


def _instruction(row: Row) -> tuple[Message, ...]:
    """Alpaca's question: the instruction, and on the next line the input where there is one; turns
    before it are pairs in LLaMA-Factory's `history`."""
    lines = (filled_text(row["instruction"], "instruction"), optional_text(row, "input"))
    history = items(row["history"], "history") if row.get("history") else []
    earlier = [
        Message(role=role, content=filled_text(said, f"history[{i}]"))
        for i, pair in enumerate(history)
        for role, said in zip(("user", "assistant"), _pair_of(pair, f"history[{i}]"), strict=True)
    ]
    return (*earlier, *_user("\n".join(line for line in lines if line)))


def _pair_of(value: object, field: str) -> list[object]:
    pair = items(value, field)
    if len(pair) != 2:
        raise RowError(f"expected a question and its answer, found {len(pair)} items", field=field)
    return pair


# Prompts


def messages_prompt(row: Row) -> Prompt:
    """`messages` that end with the question."""
    return prompt_of(asked(row["messages"], "messages"), row)


def instruction_prompt(row: Row) -> Prompt:
    """Alpaca's `instruction` and `input`."""
    return prompt_of(_instruction(row), row)


def text_prompt(field: str) -> Callable[[Row], Prompt]:
    """A field of text as a single user turn."""
    return lambda row: prompt_of(_user(filled_text(row[field], field)), row)


# Demonstrations


def _demonstration(turns: tuple[Message, ...], row: Row, field: str) -> Demonstration:
    turns = answered(with_system(row, turns), field)
    return Demonstration(messages=turns, tag=optional_text(row, "tag"))


def conversation_demonstration(field: str) -> Callable[[Row], Demonstration]:
    """A whole conversation in one field."""

    def parse(row: Row) -> Demonstration:
        return _demonstration(messages(row[field], field), row, field)

    return parse


def answer_demonstration(question: str, answer: str) -> Callable[[Row], Demonstration]:
    """A question in one field and its response in another."""

    def parse(row: Row) -> Demonstration:
        turns = _instruction(row) if question == "instruction" else asked(row[question], question)
        response = Message(role="assistant", content=completion(row[answer], answer))
        return _demonstration((*turns, response), row, answer)

    return parse


# Unpaired responses and groups


def labelled_completion(row: Row) -> Unpaired:
    """TRL's `prompt`, `completion` and `label`."""
    response = Response(text=completion(row["completion"], "completion"))
    return Unpaired(prompt=prompt(row), response=response, desirable=_label(row["label"]))


def labelled_messages(row: Row) -> Unpaired:
    """A whole conversation in `messages` whose last turn the `label` is about."""
    turns = answered(messages(row["messages"], "messages"), "messages")
    return Unpaired(
        prompt=prompt_of(awaiting(turns[:-1], "messages"), row),
        response=Response(text=turns[-1].content),
        desirable=_label(row["label"]),
    )


_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _label(value: object) -> bool:
    label = _LABELS.get(str(value).lower())
    if label is None:
        raise RowError(f"expected true or false, found {described(value)}", field="label")
    return label


def group(row: Row) -> Group:
    """palate's own groups, or a prompt with a list of texts in `responses`."""
    own = isinstance(row.get("prompt"), dict)
    question = validated(Prompt, row["prompt"], "prompt") if own else with_extra(prompt)(row)
    responses = items(row["responses"], "responses")
    return Group(
        prompt=question,
        responses=tuple(_response(item, f"responses[{i}]") for i, item in enumerate(responses)),
    )


def _response(value: object, field: str) -> Response:
    if isinstance(value, str):
        return Response(text=filled_text(value, field))
    return validated(Response, fields(value, field), field)
