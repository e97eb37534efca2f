"""A tokenizer's chat template: turns into ids, and what it writes around the text of an answer."""

import copy
import re
from collections.abc import Sequence
from datetime import date
from typing import Literal, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from palate.records import Message

Ending = Literal["open", "closed"]
"""`open`: a generation prompt follows, for the assistant to write the next turn."""

_ANSWER = "0a1B2c"
_PROBES = (
    (Message(role="user", content="x"),),
    (Message(role="system", content="x"), Message(role="user", content="x")),
)
_OPENS = re.compile(r"([<\[])(\w+)([>\]])\s*$")


class Unfit(ValueError):
    """A row that cannot become tokens; whoever knows the file and the row adds them."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}. Remedy: {remedy}")


class ChatTemplate:
    """How a tokenizer renders conversations, on a fixed day.

    `opening` is what stands between the generation prompt and the text of an answer (a channel
    or a thought, for some), `closing` what follows the text. `departs` is True where finished
    turns do not begin as the generation prompt does. `thought` is the tag, with the space behind
    it, of a thought that the generation prompt opens; `empty_thought` is True where an answer
    without a thought gets an empty one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, day: date) -> None:
        template = tokenizer.get_chat_template()
        self.dated = "strftime_now" in template
        self.source = on_day(template, day) if self.dated else template
        self.tokenizer = copy.copy(tokenizer)
        if self.tokenizer.chat_control_tokens is None:
            self.tokenizer.chat_control_tokens = control_tokens(tokenizer, template)
        asked, answered = self._probed()
        self.departs = not answered.startswith(asked)
        before, found, self.closing = answered.rpartition(_ANSWER)
        if not found:
            raise ValueError(
                "the chat template does not write the text of answers: give the tokenizer a "
                "chat_template that does, or set prompt.format=raw"
            )
        self.opening = "" if self.departs else before[len(asked) :]
        self.thought, self.closer = _opened_thought(asked, answered, self.opening)
        self.closer = self.closer or _closed_in(self.opening)
        self.empty_thought = bool(self.closer) and self.closer in self.opening

    def ids(self, messages: Sequence[Message], ending: Ending) -> tuple[int, ...]:
        """The ids of a conversation; control tokens that someone typed stay the text they are."""
        return tuple(cast("list[int]", self._applied(messages, ending, tokenize=True)))

    def text(self, messages: Sequence[Message], ending: Ending) -> str:
        """The same conversation as text."""
        return cast("str", self._applied(messages, ending, tokenize=False))

    def after_prompt(self, text: str) -> str:
        """What is left to write of an answer after a prompt that has begun its thought."""
        if not self.thought:
            return text
        return text.removeprefix(self.thought).removeprefix(self.thought.rstrip())

    def _probed(self) -> tuple[str, str]:
        answer = Message(role="assistant", content=_ANSWER)
        for turns in _PROBES[:-1]:
            try:
                return self.text(turns, "open"), self.text((*turns, answer), "closed")
            except Unfit:
                continue
        turns = _PROBES[-1]
        return self.text(turns, "open"), self.text((*turns, answer), "closed")

    def _applied(self, messages: Sequence[Message], ending: Ending, *, tokenize: bool) -> object:
        try:
            return self.tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                chat_template=self.source,
                add_generation_prompt=ending == "open",
                tokenize=tokenize,
                return_dict=False,
                sanitize_control_tokens=tokenize,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            roles = ", ".join(message.role for message in messages)
            raise Unfit(
                f"the chat template refuses the turns {roles}: {error}",
                "leave out the turn that it has no place for, or use another chat template",
            ) from error


def _opened_thought(asked: str, answered: str, opening: str) -> tuple[str, str]:
    """The tag at the end of a generation prompt that opens a thought, with the space behind it, and
    the tag that closes it: finished turns lack the first, or close it at once."""
    tag = _OPENS.search(asked)
    if tag is None:
        return "", ""
    closer = f"{tag[1]}/{tag[2]}{tag[3]}"
    without = asked[: tag.start()]
    lacked = answered.startswith(without) and answered[len(without) :].lstrip().startswith(_ANSWER)
    return (tag[0], closer) if lacked or closer in opening else ("", "")


def _closed_in(opening: str) -> str:
    """The closing tag of an empty thought in what opens answers; empty where there is none."""
    found = re.search(r"([<\[])(\w+)([>\]])\s*([<\[]/\2[>\]])", opening)
    return found[4] if found else ""


def control_tokens(tokenizer: PreTrainedTokenizerBase, template: str) -> list[str]:
    """Added tokens of the template that keep their meaning from what people type, beside special
    ones. Pairs of tags such as <think> and </think> are none: they are part of what answers say."""
    named = {token.content for token in tokenizer.added_tokens_decoder.values()}
    pairs = {t for t in named if re.fullmatch(r"[<\[]/?\w+[>\]]", t) and _paired(t) in named}
    return sorted(t for t in named - pairs if t in template and not t.isspace())


def _paired(tag: str) -> str:
    """The tag that closes an opening one, or opens a closing one."""
    return tag[0] + (tag[2:] if tag[1] == "/" else "/" + tag[1:])


def on_day(template: str, day: date) -> str:
    """The template with another `strftime_now`, which takes a given day's midnight for now."""
    forms = [f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdHIjmMpSUwWxXyYZ"]
    filters = "".join(f" | replace({form!r}, {day.strftime(form)!r})" for form in forms)
    return (
        "{%- macro strftime_now(format) -%}{{ format"
        + filters
        + " }}{%- endmacro -%}{{ '' }}"
        + template
    )
