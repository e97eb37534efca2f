"""What an answer means: math-verify's reading of its LaTeX, and when two readings are equal.

math-verify reads LaTeX only between dollar signs, and of other text the last number. So references
and answers are brought into one form, and both are read as LaTeX.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from math_verify import parse, verify
from math_verify.parser import LatexExtractionConfig
from sympy import Basic, Float, Integer, MatrixBase, Tuple, nan, zoo

from palate.feedback.mathematics.answers import NAMES, WORDS, final_answer

_LONGEST = 500
_LATEX = [LatexExtractionConfig()]
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{([^{}]*)\}")
_NAMED = re.compile(r"\\(?:text|mbox|mathrm|textbf|operatorname|begin|end)\s*\{[^{}]*\}")
_DOLLARS = re.compile(r"(\$\$?|\\[(\[])(?P<inside>[^$]*?)(\$\$?|\\[)\]])\.?", re.DOTALL)
_DECIMAL = re.compile(r"[-+]?\s?(?:\d+(?:\.\d+)?|\.\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?)")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")
_HOURS = re.compile(r"\d\s*[ap]\.?\s?m\b", re.IGNORECASE)
_PROSE = re.compile(rf"(?<![\\A-Za-z])(?!{NAMES})[A-Za-z]{{4,}}")
_REWRITTEN = (
    (re.compile("[\u2212\u2013]"), "-"),
    (re.compile("\u00d7"), r"\\times "),
    (re.compile("\u00f7"), "/"),
    (re.compile("\u03c0"), r"\\pi "),
    (re.compile("\u00b0"), r"^\\circ "),
    (re.compile("\u221e"), r"\\infty "),
    (re.compile(r"\\\$|[$\u20ac\u00a3\u00a5]"), ""),
    (re.compile(r"(?<=\d)(?:,?\\[,;:! ]|\{,\}|~|\s)\s*(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<![\w}])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?!\w)"), r"\1 \\times 10^{\2}"),
    (re.compile(r"(?<![\w.])(\d+)\s+(\d+)/(\d+)(?!\w)"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"(?<!\\)%|\s?\bpercent\b"), r"\\%"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\\A-Za-z])(pi|sin|cos|tan|cot|sec|csc|log|ln|exp)\b"), r"\\\1 "),
    (re.compile(rf"(?<=[\d}})])\s+(?!(?:and|or)\b|{NAMES})[A-Za-z]{{2,}}[A-Za-z ./]*$"), ""),
)


class Unreadable(ValueError):
    """A text is no mathematics; it says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer means: a few `words`, else a `formula`, which may be a plain `decimal`."""

    words: str = ""
    formula: Basic | MatrixBase | None = None
    decimal: Fraction | None = None


def complaint(reference: str) -> str:
    """Why nothing can be compared with a reference; empty when it is right as its own answer."""
    try:
        wanted = read(_said(reference))
    except Unreadable as error:
        return str(error)
    return "" if equal(wanted, wanted) else "does not equal itself when math-verify compares it"


def right(reference: str, response: str) -> bool:
    """Whether the answer of a response equals the reference."""
    try:
        return equal(read(_said(reference)), read(final_answer(response)))
    except Unreadable:
        return False


def _said(reference: str) -> str:
    """The answer in a reference: what follows #### or stands in a box, else all of it."""
    worked = "####" in reference or "\\boxed" in reference
    return final_answer(reference) if worked else reference


def read(answer: str) -> Reading:
    """The meaning of an answer; `Unreadable` when it has none."""
    text = answer.strip()
    if not text:
        raise Unreadable("is empty")
    if len(text) > _LONGEST:
        raise Unreadable(f"is longer than {_LONGEST} characters")
    inside = _DOLLARS.fullmatch(text)
    text = inside["inside"].strip() if inside else text.removesuffix(".")
    plain = _TEXT.sub(r"\1", text).strip().removeprefix("(").removesuffix(")").strip()
    if WORDS.fullmatch(plain):
        return Reading(words=" ".join(plain.casefold().split()))
    if _HOURS.search(plain):
        raise Unreadable("is a time of day")
    return _formula(_latex(text))


def _latex(text: str) -> str:
    """The answer in the LaTeX that math-verify reads rightly."""
    for pattern, new in _REWRITTEN:
        text = pattern.sub(new, text).strip()
    text = _REPEATING.sub(_fraction, text)
    left, _, last = text.rpartition("=")
    is_sum = left and not re.search(r"[A-Za-z<>!]", re.sub(r"\\[A-Za-z]+", "", left))
    return last.strip() if is_sum else text


def _fraction(repeating: re.Match[str]) -> str:
    """A decimal whose last digits repeat, such as 0.1 and a bar over 6, as a fraction."""
    whole, once, again = repeating.groups()
    nines = (10 ** len(again) - 1) * 10 ** len(once)
    value = int((whole + once + again) or 0) - int((whole + once) or 0)
    return rf"\frac{{{value}}}{{{nines}}}"


def _formula(latex: str) -> Reading:
    if _DECIMAL.fullmatch(latex):
        digits = latex.replace(",", "").replace(" ", "")
        made = Float(digits) if "." in digits else Integer(digits)
        return Reading(formula=made, decimal=Fraction(digits))
    if _PROSE.search(_NAMED.sub("", latex)):
        raise Unreadable("is a sentence")
    found = parse(f"${latex}$", _LATEX, fallback_mode="no_fallback", parsing_timeout=0)
    if not found or isinstance(found[0], str) or found[0] in (nan, zoo):
        raise Unreadable("is nothing that math-verify can read")
    return Reading(formula=found[0])


def equal(wanted: Reading, given: Reading) -> bool:
    """Whether two answers mean the same; a list needs all its items, each once."""
    if wanted.words or given.words:
        return wanted.words == given.words
    if wanted.decimal is not None and given.decimal is not None:
        tolerance = Fraction(1, 1_000_000) * min(1, abs(wanted.decimal))
        return abs(wanted.decimal - given.decimal) <= tolerance
    assert wanted.formula is not None
    assert given.formula is not None
    if _items(wanted.formula) > 1 and _items(given.formula) != _items(wanted.formula):
        return False
    return verify(wanted.formula, given.formula, timeout_seconds=None)


def _items(formula: object) -> int:
    """How many items a list has as it was written; 1 for what is no list."""
    if isinstance(formula, Tuple):
        return len(formula)
    return len(getattr(formula, "_unsorted_args", ())) or 1
