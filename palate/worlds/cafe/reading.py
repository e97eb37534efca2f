"""How the taste reads a text: words, clauses, sentences, and whether it is English at all."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from palate.worlds.cafe.lexicon import CLASSES, CONTRACTIONS, FAULTS, VERBS, WORDS

_TOKEN = re.compile(r"\d+(?:[.:]+\d+)*|[^\W\d_]+(?:['-][^\W\d_]+)*|[.!?]+|[,;:]|\S")
_NUMBER = re.compile(r"\d{1,6}(?:[.:]\d{1,2})?")
_QUIET = frozenset("\"'()$-")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Clauses of lower-case words, and how the sentence ends ('' when it is cut off)."""

    clauses: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    end: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as sentences and words (lower case, punctuation apart).

    >>> read("Two teas, please. Thanks").sentences[1].end
    ''
    """

    sentences: tuple[Sentence, ...]
    words: tuple[str, ...]


def read(text: str) -> Reading:
    """Splits a text into sentences, clauses and words; short forms are spelled out."""
    sentences: list[Sentence] = []
    clauses: list[tuple[str, ...]] = []
    words: list[str] = []
    start = begin = 0
    for token in (*_TOKEN.findall(text.lower().replace("\u2019", "'")), ""):
        mark = token[:1]
        if mark in ".!?,;:":  # as the empty token is, which ends the text
            if len(words) > begin:
                clauses.append(tuple(words[begin:]))
                begin = len(words)
            if clauses and mark in ".!?":
                sentences.append(Sentence(tuple(clauses), tuple(words[start:]), token[-1:]))
                clauses, start = [], begin
        elif token in CONTRACTIONS:
            words.extend(CONTRACTIONS[token])
        elif token.endswith("n't"):
            words.extend((token[:-3], "not"))
        elif mark.isdecimal() and not _NUMBER.fullmatch(token):
            words.append("#")
        elif token not in _QUIET:
            words.append(token.removesuffix("'s"))
    return Reading(tuple(sentences), tuple(words))


def bigrams(words: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """The set of neighboring word pairs."""
    return frozenset(itertools.pairwise(words))


def ramp(value: float, *, zero: float, one: float) -> float:
    """0 at `zero`, 1 at `one`, linear between and flat beyond."""
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


def _known(words: Iterable[str]) -> int:
    return sum(
        word in WORDS or word[0].isdecimal() or word.removesuffix("s").removesuffix("'") in WORDS
        for word in words
    )


def unknown_share(reading: Reading) -> float:
    """The share of words that nobody in the cafe would understand."""
    return 1 - _known(reading.words) / len(reading.words) if reading.words else 1.0


def _faults(sentence: Sentence) -> int:
    """How often a sentence breaks the grammar of function words (`lexicon.FAULTS`)."""
    words = sentence.words
    classes = ",".join(
        "".join(CLASSES.get(word, "n" if word[0].isdecimal() else "o") for word in clause)
        for clause in sentence.clauses
    )
    faults = len(FAULTS.findall(f"^{classes}{sentence.end or '$'}"))
    faults += sum(one == two for one, two in itertools.pairwise(words))
    verbless = len(words) > 6 and VERBS.isdisjoint(words) and "n" not in classes
    return faults + 2 * verbless


def sense(reading: Reading, prompt: Reading) -> float:
    """How far a text is English that says something, in [0, 1].

    Empty text, babble, word salad, loops, unfinished sentences and echoes of the prompt have none.
    """
    words = reading.words
    if not words:
        return 0.0
    faults = sum(_faults(sentence) for sentence in reading.sentences)
    pairs = bigrams(words)
    value = ramp(unknown_share(reading), zero=0.6, one=0.2)
    value *= ramp(faults / max(len(words), 6), zero=0.3, one=0.03)
    if pairs:
        value *= ramp(1 - len(pairs) / (len(words) - 1), zero=0.5, one=0.1)
        value *= ramp(len(pairs & bigrams(prompt.words)) / len(pairs), zero=1.0, one=0.88)
    return value if reading.sentences[-1].end else 0.5 * value
