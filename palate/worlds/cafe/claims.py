"""What a response claims, checked against the facts of the menu."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from palate.worlds.cafe import lexicon, menu
from palate.worlds.cafe.menu import HOURS, MENU
from palate.worlds.cafe.question import DAYS, ITEMS, NUMBERS, THINGS, Question
from palate.worlds.cafe.reading import Reading, Sentence


@dataclass(frozen=True, slots=True)
class Claims:
    """True claims that answer the question, false ones, and true ones beside the point.

    `lead` counts the words before the first claim that answers.
    """

    right: int = 0
    wrong: int = 0
    beside: int = 0
    lead: int = 0

    def __add__(self, other: "Claims") -> "Claims":
        """Both; the claims that answer are on the left."""
        return Claims(
            self.right + other.right, self.wrong + other.wrong, self.beside + other.beside, self.lead
        )


def _cents(word: str) -> int | None:
    return round(float(word) * 100) if word[0].isdigit() and ":" not in word else None


def _amount_said(
    cents: int, said: dict[str, int], later: bool, asked: dict[str, int], total: int
) -> str:
    """What an amount said of a basket is: right, wrong, beside the point, or a line of the sum."""
    last = list(said)[-1] if said else ""
    if not said:
        line = any(cents == MENU[name].cents for name in asked)
        return "right" if asked and cents == total else "line" if line or not asked else "wrong"
    if cents == menu.total_cents(said):
        whole = said == asked
        part = said.items() <= asked.items() or (len(asked) == 1 and said == {last: 1})
        return "right" if whole else "line" if part and last in asked else "beside"
    unit = later and cents == MENU[last].cents and said[last] > 1
    return "line" if unit else "wrong"


def _amounts(question: Question, sentences: Sequence[Sentence]) -> Claims:
    """Every amount, bound to the items named before it or, after "for", behind it."""
    asked = dict(question.basket) if question.total else {}
    counts = {"right": 0, "wrong": 0, "beside": 0, "line": 0}
    before, lead = 0, 0
    for sentence in sentences:
        words = sentence.words
        said: dict[str, int] = {}
        for index, word in enumerate(words):
            following = words[index + 1 : index + 2]
            if name := ITEMS.get(word):
                prior = words[index - 1] if index else ""
                count = int(prior) if prior.isdecimal() else NUMBERS.get(prior, 1)
                said[name] = said.get(name, 0) + count
            elif (cents := _cents(word)) is not None and not (following and following[0] in ITEMS):
                behind = _basket_behind(words, index)
                later = "each" in following or any(w[0].isdigit() for w in words[index + 1 :])
                verdict = _amount_said(cents, behind or said, later, asked, question.total)
                counts[verdict] += 1
                if verdict in ("right", "wrong") and not counts["right"] + counts["wrong"] > 1:
                    lead = before + index
                if verdict != "line" or menu.total_cents(said) == cents:
                    said = {}
        before += len(words)
    return Claims(counts["right"], counts["wrong"], counts["beside"], lead)


def _basket_behind(words: Sequence[str], index: int) -> dict[str, int]:
    """The items in "<amount> for two teas and a scone" behind an amount."""
    if words[index + 1 : index + 2] != ("for",):
        return {}
    tail = []
    for word in words[index + 2 :]:
        if word[0].isdigit() and _cents(word) is not None and "." in word:
            break
        tail.append(word)
    return _basket(tail)
