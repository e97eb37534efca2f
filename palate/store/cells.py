"""Tables as text, CSV and TSV, as spreadsheets read and write them.

Rows are numbered as a spreadsheet numbers them: the header is row 1, a cell may hold several lines,
and an empty row counts. A cell that a spreadsheet would take for a formula is written with `'`
before it, which reading takes away.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from palate.store.errors import BadRows, DataError, RowError, parsed_rows, shortened
from palate.store.lines import Limits, damaged, decoded, lines, too_long
from palate.store.tables import Row

_SEPARATORS = (",", ";", "\t")
_FORMULA = tuple("=+-@\t\r\n")
_EMPTY_ROWS = 2**20


def cell_rows(
    path: Path, bad_rows: BadRows, limits: Limits, *, separator: str
) -> Iterator[tuple[int, Row]]:
    """The rows of a table by the names in its header; rows of empty cells are no rows.

    Cells are separated by `separator`, or by what the header is separated by where that has none.
    """
    text = _Text(path, limits)
    records = _records(text, _separator(text, separator))
    _, header = next(records, (1, list[str]()))
    names = [name.strip() or f"(column {_letters(i)})" for i, name in enumerate(header)]
    if len(set(names)) < len(names) or not any(name.strip() for name in header):
        twice = shortened(", ".join(dict.fromkeys(n for n in names if names.count(n) > 1)))
        raise DataError(
            f"the header names a column twice ({twice})" if twice else "there is no header",
            source=str(path),
            row=1,
            remedy="give every column its own name in the first row",
        )

    def named(cells: list[str]) -> Row:
        if len(cells) == len(names):
            return dict(zip(names, map(_bare, cells), strict=True))
        problem = f"found {len(cells)} cells where the header has {len(names)}"
        raise RowError(problem, remedy="quote the cells that contain separators")

    yield from parsed_rows(records, named, source=str(path), bad_rows=bad_rows)


class _Text:
    """The lines of a table for the csv module, which asks for as many as a row has."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self.row, self._size = 1, 0
        self._lines = (line for _, line in lines(path, limits))
        self._ahead: list[str] = []

    def next_row(self) -> None:
        """Count a row."""
        self.row += 1
        self._size = 0

    def first(self) -> str:
        """The first line, which stays to be read."""
        self._ahead = [next(self, "")]
        return self._ahead[0]

    def drop_first(self) -> None:
        """Leave out the first line, which is no row."""
        self._ahead = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._ahead:
            return self._ahead.pop()
        line = next(self._lines)
        self._size += len(line)
        if self._size > self.limits.row:
            raise too_long(self.path, self.row, self.limits)
        try:
            return decoded(line)
        except RowError as error:
            raise DataError(
                error.problem, source=str(self.path), row=self.row, remedy=error.remedy
            ) from error


def _separator(text: _Text, usual: str) -> str:
    first = text.first()
    stated = first.strip().removeprefix("sep=")
    if first.startswith("sep=") and len(stated) == 1:
        text.drop_first()
        return stated
    for separator in (usual, *_SEPARATORS):
        if len(next(csv.reader([first], delimiter=separator), list[str]())) > 1:
            return separator
    return usual


def _records(text: _Text, separator: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # the limit on rows takes the place of the default, 128 KiB
    empty = 0
    try:
        for cells in csv.reader(text, delimiter=separator, strict=True):
            empty = 0 if any(cells) else empty + 1
            if empty > _EMPTY_ROWS:
                raise damaged(text.path, text.row, "more than a million empty rows")
            if not empty:
                yield text.row, cells
            text.next_row()
    except csv.Error as error:
        raise DataError(
            f"malformed quoting: {error}",
            source=str(text.path),
            row=text.row,
            remedy="close the quotes",
        ) from error


def _letters(index: int) -> str:
    """A column's letters in a spreadsheet."""
    before, letter = divmod(index, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + letter)


def _is_guarded(cell: str) -> bool:
    return cell.lstrip("'").startswith(_FORMULA)


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _is_guarded(cell) else cell


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _is_guarded(value) else value


def write_cells(file: IO[bytes], names: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows of text and numbers as CSV that spreadsheets open: UTF-8 with its mark, CRLF."""
    file.write("\ufeff".encode())
    writer = csv.writer(_Encoded(file), lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)


class _Encoded:
    """What the csv module writes to, as UTF-8 in a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write text."""
        return self._file.write(text.encode())
