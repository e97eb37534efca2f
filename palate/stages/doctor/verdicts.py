"""What the doctor says: verdicts with remedies, between tables and examples."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from palate.store.errors import DataError

Level = Literal["ok", "warning", "problem"]
STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_INDENT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One verdict, and what to do about it.

    >>> problem("no disk", "buy one").remedy
    'buy one'
    """

    level: Level
    text: str
    remedy: str = ""


T = TypeVar("T")
Remark: TypeAlias = Finding | RenderableType
Exam: TypeAlias = Generator[Remark, None, T]
"""Remarks as they come up, and at the end what was learned."""


def ok(text: str) -> Finding:
    """All is well."""
    return Finding(level="ok", text=text)


def warning(text: str, remedy: str) -> Finding:
    """It will run, and perhaps not do what was meant."""
    return Finding(level="warning", text=text, remedy=remedy)


def problem(text: str, remedy: str = "") -> Finding:
    """It will stop, or do something else than what was asked."""
    return Finding(level="problem", text=text, remedy=remedy)


def problem_of(error: DataError, *, how_many: str = "") -> Finding:
    """The problem that an error about data is, its remedy on a line of its own."""
    text = str(error).removesuffix(f". Remedy: {error.remedy}")
    return problem(how_many + text, error.remedy or "repair it or leave it out")


def attempt(exam: Exam[T]) -> Exam[T | None]:
    """The exam; an error that a person can act on ends it with a problem and without a result."""
    try:
        return (yield from exam)
    except DataError as error:
        yield problem_of(error)
    except (ValueError, OSError) as error:
        yield problem(str(error) or type(error).__name__)
    return None


def say(remark: Remark, console: Console) -> None:
    """Print one remark: a verdict on its own lines, anything else indented."""
    if not isinstance(remark, Finding):
        console.print(Padding(remark, (0, 0, 0, 2 if isinstance(remark, Table) else _INDENT)))
        return
    line = Text.assemble((f"  {remark.level:<{_INDENT - 2}}", STYLES[remark.level]), remark.text)
    console.print(_hanging(line))
    if remark.remedy:
        console.print(Padding(Text(f"-> {remark.remedy}", style="italic"), (0, 0, 0, _INDENT)))


def _hanging(line: Text) -> RenderableType:
    """A line whose continuation is indented as far as its text."""
    grid = Table.grid(padding=0)
    grid.add_column(width=_INDENT, no_wrap=True)
    grid.add_column()
    grid.add_row(line[:_INDENT], line[_INDENT:])
    return grid


def counted(n: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "row"), counted(1200, "row"), counted(2, "minibatch"), counted(0, "policy")
    ('1 row', '1,200 rows', '2 minibatches', '0 policies')
    """
    plural = {"minibatch": "minibatches", "policy": "policies"}.get(noun, f"{noun}s")
    return f"{n:,} {noun if n == 1 else plural}"


def in_bytes(size: float) -> str:
    """A size in the unit that reads best.

    >>> in_bytes(3 * 2**20), in_bytes(1.5 * 2**30)
    ('3.0 MiB', '1.5 GiB')
    """
    unit, power = ("GiB", 30) if size >= 2**30 else ("MiB", 20)
    return f"{size / 2**power:,.1f} {unit}"
