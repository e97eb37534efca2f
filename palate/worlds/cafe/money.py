"""The amounts of money in a sentence, and what each is said of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from palate.worlds.cafe import lexicon
from palate.worlds.cafe.question import ITEMS, count_before


def _counts(words: Sequence[str], index: int) -> bool:
    """Whether the number at this index says how many of the next word there are."""
    following = words[index + 1 : index + 2]
    return bool(following) and (following[0] in ITEMS or following[0] in lexicon.COUNTED)


class Amount(NamedTuple):
    """An amount of money in a sentence, the basket it is said of, and whether it is for each."""

    index: int
    cents: int
    basket: dict[str, int]
    each: bool


def _basket_behind(words: Sequence[str], index: int) -> tuple[dict[str, int], int]:
    """The basket in "<amount> for <basket>", and the index of its last word."""
    basket: dict[str, int] = {}
    if words[index + 1 : index + 2] == ("for",):
        while index + 1 < len(words) and not words[index + 1][0].isdecimal():
            index += 1
            if name := ITEMS.get(words[index]):
                basket[name] = basket.get(name, 0) + count_before(words, index)
    return basket, index


def amounts(words: Sequence[str]) -> Iterator[Amount]:
    """Each amount of a sentence, said of what follows "for" or else of what was named before."""
    said: dict[str, int] = {}
    index = 0
    while index < len(words):
        word = words[index]
        if name := ITEMS.get(word):
            said[name] = said.get(name, 0) + count_before(words, index)
        elif word[0].isdecimal() and not _counts(words, index):
            at, cents = index, round(float(word.replace(":", ".")) * 100)
            each = words[index - 1 : index] == ("at",) or words[index + 1 : index + 2] == ("each",)
            behind, index = _basket_behind(words, index)
            yield Amount(at, cents, behind or said, each)
            if not each:
                said = {}
        index += 1
