"""Errors about data that say where the problem is and what to do, and what to do with bad rows."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


class DataError(Exception):
    """Data that cannot be used: where it is, what is wrong and what to do about it.

    `row` is the 1-based line of the file, the row of the spreadsheet for CSV and TSV, or the index
    from 1 where rows are no lines; 0 means that the problem is not about one row.

    >>> str(DataError("expected text, found a number (3)", source="a.jsonl", row=7, field="chosen"))
    "a.jsonl, row 7, field 'chosen': expected text, found a number (3)"
    """

    def __init__(
        self, problem: str, *, source: str, row: int = 0, field: str = "", remedy: str = ""
    ) -> None:
        self.problem = problem = shortened(problem)
        self.source = source
        self.row = row
        self.field = field = shortened(field)
        self.remedy = remedy
        where = source
        if row:
            where += f", row {row}" + (" (the header is row 1)" if _is_sheet(source) else "")
        where += f", field '{field}'" if field else ""
        super().__init__(f"{where}: {problem}" + (f". Remedy: {remedy}" if remedy else ""))

    @property
    def kind(self) -> str:
        """What errors of one kind share: the problem without the values in it."""
        return re.sub(r"\(.*?\)|'.*?'|\d+", "", f"{self.field}: {self.problem}")


def _is_sheet(source: str) -> bool:
    return source.removesuffix(".gz").endswith((".csv", ".tsv"))


def shortened(text: str, most: int = 600) -> str:
    """Text that may be shown to a person: bounded, and without what would steer a terminal.

    >>> shortened("a\\x1b[2J"), shortened("abcdef", 3)
    ('a\\\\x1b[2J', 'abc... (6 characters)')
    """
    cut = text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


class RowError(Exception):
    """What is wrong inside one row; the reader, which knows the place, adds it."""

    def __init__(
        self, problem: str, *, field: str = "", remedy: str = "correct the row or leave it out"
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.remedy = remedy


BadRows = Callable[[DataError], None]
"""What a reader does with a bad row: `refuse` raises; a `Skipped` counts it and reading goes on."""


def refuse(error: DataError) -> None:
    """Raise the error: the default of every reader."""
    raise error


def parsed_rows(
    rows: Iterable[tuple[int, T]],
    parse: Callable[[T], U],
    *,
    source: str,
    bad_rows: BadRows,
) -> Iterator[tuple[int, U]]:
    """Row numbers and parsed rows; a `RowError` goes to `bad_rows` with its place added."""
    for row, value in rows:
        try:
            parsed = parse(value)
        except RowError as e:
            bad_rows(DataError(e.problem, source=source, row=row, field=e.field, remedy=e.remedy))
        else:
            yield row, parsed


@dataclass(slots=True)
class Skipped:
    """Bad rows that were left out: how many, the first `keep` errors, and how many of each kind.

    >>> skipped = Skipped()
    >>> skipped(DataError("the response is empty", source="a.jsonl", row=2))
    >>> skipped.count, skipped.first[0].row
    (1, 2)
    """

    count: int = 0
    first: list[DataError] = field(default_factory=list[DataError])
    keep: int = 20
    kinds: dict[str, "Kind"] = field(default_factory=dict[str, "Kind"])

    def __call__(self, error: DataError) -> None:
        """Count one bad row."""
        self.count += 1
        if len(self.first) < self.keep:
            self.first.append(error)
        if error.kind in self.kinds:
            self.kinds[error.kind].count += 1
        elif len(self.kinds) < self.keep:
            self.kinds[error.kind] = Kind(error)


@dataclass(slots=True)
class Kind:
    """Bad rows with the same problem: the first, and how many there are."""

    first: DataError
    count: int = 1


_KINDS = {
    "NoneType": "nothing",
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "an object",
}


def described(value: object) -> str:
    """What a JSON value is, in the words of an error message.

    >>> described(3), described("three"), described(None)
    ('a number (3)', "text ('three')", 'nothing (None)')
    """
    kind = type(value).__name__
    return f"{_KINDS.get(kind, kind)} ({repr(value)[:60]})"
