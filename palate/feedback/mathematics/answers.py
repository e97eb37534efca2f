"""The final answer of a response as text: the last box, else what is called the answer, else the
last formula or number. Nothing is computed here."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_ASIDE = re.compile(r"^\W*(?:my\s+|overall\s+)?(?:confidence|certainty)\b.*$", re.I | re.M)
_BULLET = re.compile(r"^[ \t]*[-*][ \t]+", re.M)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_BETWEEN_BOXES = re.compile(r"[\s$,;]*(?:\\?\b(?:and|or)\b)?[\s$]*(?:\w\s*=\s*)?")
_CALLED = re.compile(
    r"####|\banswer\b(?:[^.\n:=]{0,80}?\s(?:is|are|equals)\b|[*_\s]*(?=[:=]))[*_:=\s]*|^\s*A:\s",
    re.I | re.M,
)
_NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+)"
_AMOUNT = (
    rf"[-+\u2212]?\s?[$\u20ac\u00a3\u00a5]?\s?{_NUMBER}(?:[eE][-+]?\d+)?(?:\s?(?:%|percent\b))?"
)
_FACTOR = rf"[-+\u2212]?[(]*(?:\d+[ ]\d+/\d+|{_AMOUNT})[)]*"
_TERM = rf"(?:\b[A-Za-z]\s?=\s?)?{_FACTOR}(?:\s?(?:\*\*|[-+*/^:=\u00d7\u00f7\u2212])\s?{_FACTOR})*"
_ITEM = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$"
    r"|\\\[(?P<bracket>(?:[^\\]|\\(?!\]))+)\\\]"
    r"|\\\((?P<parenthesis>(?:[^\\]|\\(?!\)))+)\\\)"
    r"|(?<![\\\d])\$(?P<inline>(?=\S)[^$\n]*[^$\s])\$(?!\d)"
    rf"|(?P<tuple>[(\[{{]\s?{_TERM}(?:\s?,\s?{_TERM})+\s?[)\]}}])"
    rf"|(?<![\w.])(?P<plain>{_TERM})"
)
_COMMA = re.compile(r"\s*(?:,?\s*\b(?:and|or)\b|,)\s*")
_SENTENCE_END = re.compile(r"[*_\s]*(?:$|[.!;](?:\s|$|[*_]))", re.M)
NAMES = r"(?:pi|sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|inf|infinity)\b"
WORDS = re.compile(rf"(?!{NAMES})[^\W\d_]{{2,}}(?:[ '-][^\W\d_]{{2,}}){{0,2}}|[A-Za-z]")
"""One to three words, or one letter: what a word problem or a multiple choice asks for."""
_PROSE = re.compile(rf"(?<![\\\w^])(?!(?:and|or)\b|{NAMES})[A-Za-z]{{2,}}(?![\w(^])")
_QUOTED = re.compile(r"\\(?:text|mbox|mathrm|operatorname|begin|end)\w*\s*\{[^{}]*\}")
_LONGEST_LINE = 200


class _Piece(NamedTuple):
    """Something mathematical in a text: where it begins and ends, and what it is."""

    start: int
    end: int
    content: str


def final_answer(response: str) -> str:
    """What a response gives as its answer, without box or dollar signs; empty when nothing is."""
    text = _spoken(response)
    boxes = list(_boxes(text))
    if boxes:
        return _joined(text, boxes, _BETWEEN_BOXES)[-1].content
    called = list(_CALLED.finditer(text))
    if called:
        rest = text[called[-1].end() :]
        line = next((line for line in rest.splitlines() if line.strip()), "")
        return _whole(line) or next(iter(_pieces(line)), "")
    return _whole(text) or next(reversed(_pieces(text)), "")


def _spoken(response: str) -> str:
    """A response without its thought, remarks about its own confidence, and bullets of a list."""
    text = response.rpartition("</think>")[2]
    text = text if text.strip() else response
    text = _ASIDE.sub("", text).strip() or text
    text = text.replace("\\$", "")
    return _BULLET.sub("", text) if len(_BULLET.findall(text)) > 1 else text


def _boxes(text: str) -> Iterator[_Piece]:
    """Every box in order; one that never closes holds nothing."""
    for match in _BOX.finditer(text):
        depth = 0
        for place in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                yield _Piece(match.start(), place + 1, text[match.end() + 1 : place].strip())
                break
        else:
            yield _Piece(match.start(), len(text), "")


def _joined(text: str, pieces: list[_Piece], between: re.Pattern[str]) -> list[_Piece]:
    """The pieces, as one list each where only a comma, `and` or `or` keeps them apart."""
    joined = pieces[:1]
    for before, piece in pairwise(pieces):
        if between.fullmatch(text, before.end, piece.start):
            content = f"{joined[-1].content}, {piece.content}"
            joined[-1] = _Piece(joined[-1].start, piece.end, content)
        else:
            joined.append(piece)
    return joined


def _pieces(text: str) -> list[str]:
    """Formulas, numbers and lists of them in order; a list that goes on in words is its parts."""
    pieces = [
        _Piece(m.start(), m.end(), (m[m.lastgroup] if m.lastgroup else "").strip())
        for m in _ITEM.finditer(text)
    ]
    found: list[str] = []
    for run in _joined(text, pieces, _COMMA):
        if _SENTENCE_END.match(text, run.end):
            found.append(run.content)
        else:
            found += [p.content for p in pieces if run.start <= p.start < run.end]
    return found


def _whole(text: str) -> str:
    """A text that is nothing but an answer: a formula or number as it is, or a few words."""
    bare = text.strip().strip("*_").strip().removesuffix(".").strip("*_").strip()
    dollars = _ITEM.fullmatch(bare)
    if dollars and dollars.lastgroup:
        return dollars[dollars.lastgroup].strip()
    if len(bare) > _LONGEST_LINE or "\n" in bare or "$" in bare:
        return ""
    if WORDS.fullmatch(bare) or not _PROSE.search(_QUOTED.sub("", bare)):
        return bare
    return ""
