"""What pages show of a question: its conversation, and its answers without who wrote them."""

from dataclasses import dataclass

from palate.records import Message, Prompt, Response
from palate.store.labelling.answers import Assignment
from palate.store.pseudonyms import BY_PERSON
from palate.web.difference import Piece, differences
from palate.web.leaks import names_its_author
from palate.web.strings import text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A response as it is shown: never who wrote it."""

    place: int
    letter: str
    text: str
    leak: bool
    pieces: list[Piece] | None


def cards(asked: Assignment) -> list[Card]:
    """The responses in the order shown; two of them with their differences."""
    texts = [asked.group.responses[index].text for index in asked.order]
    pieces = differences(texts[0], texts[1]) if len(texts) == 2 else None
    leaks = leaking(asked)
    return [
        Card(
            place=place,
            letter=LETTERS[place % 26],
            text=written,
            leak=asked.order[place] in leaks,
            pieces=pieces and pieces[place],
        )
        for place, written in enumerate(texts)
    ]


def leaking(asked: Assignment) -> tuple[int, ...]:
    """The responses that may say who wrote them."""
    responses: tuple[Response, ...] = asked.group.responses
    policies = {r.policy for r in responses if not r.policy.startswith(BY_PERSON)}
    return tuple(i for i in asked.order if names_its_author(responses[i].text, policies))


def conversation(prompt: Prompt) -> tuple[Message, ...]:
    """What was asked: all turns, or the token ids of a raw prompt."""
    if prompt.messages:
        return prompt.messages
    ids = " ".join(map(str, prompt.token_ids))
    return (Message(role="user", content=f"{text('token_ids')} {ids}"),)
