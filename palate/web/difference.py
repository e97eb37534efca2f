"""Where two answers differ, word by word."""

import difflib
import re
from dataclasses import dataclass

_LONGEST = 3000
"""Words; comparing takes time in proportion to the square of their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of text that is in both answers, or in one only."""

    text: str
    own: bool


def differences(first: str, second: str) -> tuple[list[Piece], list[Piece]] | None:
    """The pieces of both texts; joined, they are the texts. None for texts that are too long.

    >>> [p.text for p in differences("two cups of tea", "two mugs of tea")[0] if p.own]
    ['cups']
    """
    left, right = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (first, second))
    if max(len(left), len(right)) > _LONGEST:
        return None
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        for side, words in ((0, left[i:j]), (1, right[k:m])):
            if words:
                pieces[side].append(Piece(text="".join(words), own=tag != "equal"))
    return pieces
