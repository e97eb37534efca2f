"""Prompts, responses, groups and demonstrations.

A group is one prompt and its k responses. Supervised data has k = 1, a comparison k = 2,
best-of-n k = n; one shape serves every stage.
"""

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from palate.records.base import GroupId, PromptId, Record, content_id

Role = Literal["system", "user", "assistant", "tool"]


class Message(Record):
    """One turn of a conversation.

    >>> Message(role="user", content="Do you have oat milk?").role
    'user'
    """

    role: Role
    content: str


class Prompt(Record):
    """What is asked: the conversation up to the turn that the policy writes.

    `token_ids` is set only for prompts given as ids (`prompt.format = "raw"`); `reference` is the
    known right answer of a verifiable prompt and is handed to verifiers, never to the policy.
    `extra` holds the further fields of its row as a JSON object, for reward functions; where there
    are none it is empty, and is not written.

    >>> user_prompt("How much are two lattes?", reference="9.00").messages[0].role
    'user'
    """

    messages: tuple[Message, ...] = ()
    token_ids: tuple[int, ...] = ()
    reference: str = ""
    tag: str = ""
    extra: str = Field(default="", exclude_if=lambda extra: not extra)

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if bool(self.messages) == bool(self.token_ids):
            raise ValueError("a prompt has either messages or token_ids, and exactly one of them")
        return self

    @cached_property
    def id(self) -> PromptId:
        """Content hash of what is asked; reference, tag and further fields do not change it."""
        messages = [message.model_dump(mode="json") for message in self.messages]
        return PromptId(content_id([messages, list(self.token_ids)]))

    @property
    def text(self) -> str:
        """The contents of all turns joined by newlines: for people and text judges."""
        return "\n".join(message.content for message in self.messages)


def user_prompt(text: str, *, reference: str = "", tag: str = "") -> Prompt:
    """A single-turn prompt."""
    message = Message(role="user", content=text)
    return Prompt(messages=(message,), reference=reference, tag=tag)


class Sampling(Record):
    """How a response was drawn."""

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=64, gt=0)


class Response(Record):
    """What was written for a prompt, by whom and how.

    `token_ids` are the sampled ids including the end-of-sequence token when it was written; they
    are what training uses (text is never re-tokenised between sampling and training). Responses
    that were read from text have none. `finish` says why the response ended.

    >>> Response(text="Yes, oat and soy.").finish
    'stop'
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finish: Literal["stop", "length"] = "stop"
    policy: str = ""
    sampling: Sampling | None = None


class Group(Record):
    """One prompt and its k responses.

    >>> Group(prompt=user_prompt("Hi"), responses=(Response(text="Hello."),)).k
    1
    """

    prompt: Prompt
    responses: tuple[Response, ...] = Field(min_length=1)

    @property
    def k(self) -> int:
        """The number of responses."""
        return len(self.responses)

    @cached_property
    def id(self) -> GroupId:
        """Content hash of the prompt and the responses in order (text, ids and policy)."""
        written = [[r.text, list(r.token_ids), r.policy] for r in self.responses]
        return GroupId(content_id([self.prompt.id, written]))


class Demonstration(Record):
    """A conversation to imitate, ending in an assistant turn.

    >>> Demonstration(messages=(Message(role="user", content="Hi"),
    ...                         Message(role="assistant", content="Hello."))).response
    'Hello.'
    """

    messages: tuple[Message, ...]
    tag: str = ""

    @model_validator(mode="after")
    def _ends_with_the_assistant(self) -> Self:
        if not self.messages or self.messages[-1].role != "assistant":
            raise ValueError("a demonstration ends with an assistant message")
        if not self.messages[-1].content:
            raise ValueError("the last assistant message is empty")
        return self

    @property
    def prompt(self) -> Prompt:
        """The turns before the last assistant turn."""
        return Prompt(messages=self.messages[:-1], tag=self.tag)

    @property
    def response(self) -> str:
        """The text of the last assistant turn."""
        return self.messages[-1].content
