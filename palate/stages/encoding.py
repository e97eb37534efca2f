"""Rows as tokens at the start of a stage: what cannot be learned stops it, what is odd is said.

The doctor says the same before a run: it encodes with the same functions and asks for the same
oddities.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from palate.batches.groups import TokenGroup, token_group
from palate.models.templates import ChatTemplate, Unfit
from palate.models.tokens import Encoder, TooLong
from palate.records import (
    Demonstration,
    Group,
    PreferenceGroup,
    Prompt,
    Record,
    Response,
    Unpaired,
)
from palate.stages.context import StageContext
from palate.store import formats
from palate.store.errors import DataError
from palate.store.formats import Reading

T = TypeVar("T", bound=Record)
Encode = Callable[[Encoder, T], TokenGroup]

Part = Literal["training", "held_out"]

_LONG = 20
"""Characters from which on a prompt is not repeated by chance at the beginning of a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded(Generic[T]):
    """Rows and their tokens, side by side."""

    rows: list[T]
    tokens: list[TokenGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """What training or sampling will do that was perhaps not meant; `serious` if surely not."""

    text: str
    remedy: str
    serious: bool = False


def demonstrated(train_on: str) -> "Encode[Demonstration]":
    """Encodes demonstrations whose last, or all, assistant turns are trained."""
    if train_on == "all":
        return lambda encoder, row: encoder.encode_demonstration(row, train_on="all")
    return lambda encoder, row: encoder.encode_demonstration(row, train_on="last")


def preferred(encoder: Encoder, row: PreferenceGroup) -> TokenGroup:
    """A judged group, in which tokens tell responses apart that texts tell apart."""
    tokens = encoder.encode_group(row.group)
    for p in row.preferences:
        texts, ids = row.group.responses, tokens.responses
        differ = texts[p.winner].text != texts[p.loser].text
        if p.probability != 0.5 and differ and ids[p.winner] == ids[p.loser]:
            raise Unfit(
                f"responses {p.winner + 1} and {p.loser + 1} differ only in what the chat template "
                "or the tokenizer drops, such as space around them: their tokens are equal",
                "leave the row out, mark a tie, or use a template that keeps the difference",
            )
    return tokens


def labelled(encoder: Encoder, row: Unpaired) -> TokenGroup:
    """A labelled response as a group of one."""
    return encoder.encode_group(Group(prompt=row.prompt, responses=(row.response,)))


def asked(encoder: Encoder, prompt: Prompt) -> TokenGroup:
    """A prompt as a group without responses."""
    return token_group(prompt.id, encoder.encode_prompt(prompt).ids, ())


def encoded(
    context: StageContext,
    rows: Sequence[T],
    encode: "Encode[T]",
    encoder: Encoder,
    *,
    max_response_tokens: int,
    source: str,
    part: Part = "training",
) -> Encoded[T]:
    """The rows that can be learned, with their tokens; what is odd about them is said.

    A stage needs rows to train on or to ask; of those that are held out all may be left out.
    A row that cannot become tokens is a bad row; one that is too long raises or is left out
    (`prompt.over_long`). `source` is the file that the rows are from.
    """
    kept: list[T] = []
    tokens: list[TokenGroup] = []
    places = Places(source, context.reading(source))
    left_out = 0
    for row in rows:
        try:
            group = encode(encoder, row)
            fits = encoder.admits(group, max_response_tokens=max_response_tokens)
        except TooLong as error:
            raise places.named(row, error) from error
        except Unfit as error:
            context.bad_rows(places.named(row, error))
            continue
        left_out += not fits
        if fits:
            kept.append(row)
            tokens.append(group)
    if rows and not kept and part == "training":
        raise DataError(
            source=source, problem="no rows that fit in it", remedy="check the file and its format"
        )
    context.left_out(left_out)
    for oddity in oddities(kept, tokens, encoder):
        context.say(f"{oddity.text}. Remedy: {oddity.remedy}")
    return Encoded(rows=kept, tokens=tokens)


class Places:
    """The rows of a file by the records made of them, read when a place is first asked for."""

    def __init__(self, source: str, reading: Reading) -> None:
        self.source, self.reading = source, reading
        self.numbers: dict[Record, int] | None = None

    def named(self, record: Record, error: Unfit) -> DataError:
        """The error with the file and the row of a record."""
        if self.numbers is None:
            self.numbers = formats.numbered(type(record), self.source, self.reading)
        row = self.numbers.get(record, 0)
        return DataError(error.problem, source=self.source, row=row, remedy=error.remedy)


def oddities(
    rows: Sequence[Record], tokens: Sequence[TokenGroup], encoder: Encoder
) -> list[Oddity]:
    """What will not be trained or asked as the rows look."""
    prompts = [prompt_of(row) for row in rows]
    answers = [
        (prompt, one)
        for prompt, row in zip(prompts, rows, strict=True)
        for one in responses_of(row)
        if not one.token_ids
    ]
    found = [*_odd_texts(prompts, answers, encoder)]
    if encoder.template:
        found += _odd_template(encoder.template, encoder, [one.text for _, one in answers])
        found += _unwritten_turns(encoder.template, encoder, prompts, tokens)
    return found


def prompt_of(row: Record) -> Prompt:
    """What a row asks."""
    match row:
        case Prompt():
            return row
        case PreferenceGroup():
            return row.group.prompt
        case Demonstration() | Group() | Unpaired():
            return row.prompt
        case _:
            raise TypeError(f"a {type(row).__name__} asks nothing")


def responses_of(row: Record) -> tuple[Response, ...]:
    """The responses of a row."""
    match row:
        case Demonstration():
            return (Response(text=row.response),)
        case PreferenceGroup():
            return row.group.responses
        case Group():
            return row.responses
        case Unpaired():
            return (row.response,)
        case _:
            return ()


def _odd_template(
    template: ChatTemplate, encoder: Encoder, answers: Sequence[str]
) -> "list[Oddity]":
    found: list[Oddity] = []
    open_ended = sum(template.closer not in text for text in answers) if template.closer else 0
    if open_ended and template.empty_thought:
        found.append(
            Oddity(
                text=f"{_share(open_ended, answers)} hold no thought, and the chat template writes "
                f"an empty one before them ({template.opening!r}), which is trained",
                remedy="begin responses with the thought, as the model writes it",
                serious=bool(template.thought),
            )
        )
    elif open_ended:
        found.append(
            Oddity(
                text="the chat template renders finished turns differently from its generation "
                f"prompt, which opens a thought ({template.thought!r}): "
                f"{_share(open_ended, answers)} do not close it with {template.closer}, so they "
                "are trained as a thought without an answer",
                remedy=f"write the thought and {template.closer} before the answer, or give the "
                "tokenizer a chat_template that opens none",
                serious=True,
            )
        )
    elif template.departs and not template.thought and answers:
        found.append(
            Oddity(
                text="the chat template renders finished turns differently from its generation "
                "prompt; trained is the text right after the generation prompt, and EOS",
                remedy="give the tokenizer a chat_template whose finished turns begin as its "
                "generation prompt does",
            )
        )
    if encoder.rendered_otherwise and not template.departs:
        found.append(
            Oddity(
                text=f"{_share(encoder.rendered_otherwise, answers)} lose text in the chat "
                "template (many strip thoughts); trained is the whole text right after the "
                "generation prompt, and EOS",
                remedy="leave out what the template strips, if it is not to be trained",
            )
        )
    return found


def _unwritten_turns(
    template: ChatTemplate,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    tokens: Sequence[TokenGroup],
) -> list[Oddity]:
    """Turns that the template leaves out of prompts; earlier answers it may abridge."""
    lost: dict[str, int] = {}
    for prompt, group in zip(prompts, tokens, strict=True):
        there = [turn for turn in prompt.messages if turn.role in ("system", "user")]
        read = _squeezed(str(encoder.tokenizer.decode(list(group.prompt))))
        missed = [turn for turn in there if _squeezed(turn.content) not in read]
        if missed:
            read = _squeezed(template.text(prompt.messages, "open"))
            for turn in missed:
                if _squeezed(turn.content) not in read:
                    lost[turn.role] = lost.get(turn.role, 0) + 1
    return [
        Oddity(
            text=f"the chat template leaves out {count:,} {role} turn(s), which no model sees",
            remedy="use a chat template that writes them, or put their text into user turns",
            serious=True,
        )
        for role, count in lost.items()
    ]


_HH = re.compile(r"\s*Human: .*\n\nAssistant:", re.DOTALL)


def _odd_texts(
    prompts: Sequence[Prompt], answers: Sequence[tuple[Prompt, Response]], encoder: Encoder
) -> list[Oddity]:
    found: list[Oddity] = []
    texts = [turn.content for prompt in prompts for turn in prompt.messages if turn.role == "user"]
    dialogues = sum(bool(_HH.match(text)) for text in texts)
    if dialogues and encoder.template:
        found.append(
            Oddity(
                text=f"{_share(dialogues, texts, 'user turn')} hold a whole dialogue with the "
                "markers of HH-RLHF ('\\n\\nHuman:', '\\n\\nAssistant:'), taken as one turn",
                remedy='write prompts as messages, or set prompt.format = "raw"',
                serious=True,
            )
        )
    lists = sum(_is_json_list(text) for text in texts)
    if lists:
        found.append(
            Oddity(
                text=f"{_share(lists, texts, 'user turn')} are JSON lists written as text, which "
                "are taken as they are",
                remedy="write a list of messages as JSON, not inside quotes",
            )
        )
    repeated = sum(
        len(prompt.text) >= _LONG and one.text.startswith(prompt.text) for prompt, one in answers
    )
    if repeated:
        found.append(
            Oddity(
                text=f"{_share(repeated, answers)} begin with their whole prompt, which is trained "
                "again",
                remedy="leave the prompt out of the responses",
            )
        )
    if encoder.changed_texts:
        found.append(
            Oddity(
                text=f"{_share(encoder.changed_texts, answers)} have characters that the tokenizer "
                "cannot write, and are trained without them",
                remedy="use a tokenizer that covers the language of the data",
            )
        )
    return found


def _is_json_list(text: str) -> bool:
    if not text.lstrip().startswith("["):
        return False
    try:
        return bool(json.loads(text)) and all(isinstance(i, str | dict) for i in json.loads(text))
    except ValueError:
        return False


def _share(n: int, of: Sequence[object], noun: str = "response") -> str:
    return f"{n:,} of {len(of):,} {noun}{'' if len(of) == 1 else 's'}"


def _squeezed(text: str) -> str:
    return "".join(text.split())
