"""The rows of tabular files and Hub datasets, streaming."""

import csv
import difflib
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

from palate.store.errors import BadRows, DataError, RowError, described, parsed_rows, refuse
from palate.store.tables import Row, hub_rows, parquet_rows

Rows = Iterator[tuple[int, Row]]
"""Row number and row: the 1-based line where rows are lines, else the 1-based index."""


def read_rows(source: str, *, split: str = "train", bad_rows: BadRows = refuse) -> Rows:
    """The rows of a .jsonl, .json, .csv, .tsv, .parquet or .txt file (each may be .gz), or of one
    split of a Hub dataset named `name`, `org/name` or `org/name:config`.

    Rows stream, except that a .json array is read whole. Rows of .txt are its lines, as `text`.
    Blank lines are no rows.
    """
    path = Path(source)
    if path.is_dir():
        inside = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise DataError(
            f"is a folder (with {inside})", source=source, remedy="name one file inside it"
        )
    name = path.name.removesuffix(".gz")
    reader = _READERS.get(Path(name).suffix)
    if path.exists():
        if reader is None:
            raise DataError(
                f"cannot read files that end in '{Path(name).suffix}'",
                source=source,
                remedy=f"convert it to one of {', '.join(_READERS)}",
            )
        return reader(path, bad_rows)
    if reader is None and _HUB_NAME.fullmatch(source):
        return enumerate(hub_rows(source, split=split), 1)
    raise DataError("no such file", source=source, remedy=_nearest(path))


def read_document(source: str) -> str:
    """The whole text of one UTF-8 file (which may be .gz)."""
    path = Path(source)
    if not path.is_file():
        raise DataError("no such file", source=source, remedy=_nearest(path))
    try:
        return _decoded(_whole(path).removeprefix(_BOM))
    except RowError as error:
        raise DataError(error.problem, source=source, remedy=error.remedy) from error


_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*(:[\w.-]+)?)?")


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"check the path; there is no folder '{path.parent}'"
    names = sorted(entry.name for entry in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return f"check the name; nearest in '{path.parent}': {', '.join(near)}"
    return f"check the path; '{path.parent}' holds {', '.join(names[:5]) or 'nothing'}"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _damaged(path: Path, row: int, problem: object) -> DataError:
    return DataError(
        f"the file is cut short or damaged ({problem})",
        source=str(path),
        row=row,
        remedy="fetch or write it again",
    )


_GzipError = (EOFError, gzip.BadGzipFile, zlib.error)


def _whole(path: Path) -> bytes:
    with _open(path) as file:
        try:
            return file.read()
        except _GzipError as error:
            raise _damaged(path, 0, error) from error


_BOM = b"\xef\xbb\xbf"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    row = 0
    with _open(path) as file:
        try:
            for row, line in enumerate(file, 1):
                yield row, line.removeprefix(_BOM) if row == 1 else line
        except _GzipError as error:
            raise _damaged(path, row + 1, error) from error


def _full_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    return ((row, line) for row, line in _lines(path) if line.strip())


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise RowError(
            f"byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8",
            remedy="save the file as UTF-8",
        ) from error


def _object(value: object) -> Row:
    if isinstance(value, dict):
        return cast(Row, value)
    problem = f"expected an object, found {described(value)}"
    raise RowError(problem, remedy='write every row as {"field": value, ...}')


def _json(data: bytes) -> object:
    text = _decoded(data)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"malformed JSON: {error}", remedy="write one object per row") from error


def _text_rows(path: Path, bad_rows: BadRows) -> Rows:
    return parsed_rows(
        _full_lines(path),
        lambda line: {"text": _decoded(line).rstrip("\r\n")},
        source=str(path),
        bad_rows=bad_rows,
    )


def _jsonl_rows(path: Path, bad_rows: BadRows) -> Rows:
    return parsed_rows(
        _full_lines(path),
        lambda line: _object(_json(line)),
        source=str(path),
        bad_rows=bad_rows,
    )


def _json_rows(path: Path, bad_rows: BadRows) -> Rows:
    data = _whole(path).removeprefix(_BOM)
    if not data.lstrip().startswith(b"["):
        return _jsonl_rows(path, bad_rows)  # JSON Lines under the name .json are common
    try:
        array = cast("list[object]", _json(data))
    except RowError as error:
        raise DataError(error.problem, source=str(path), remedy="repair the array") from error
    return parsed_rows(enumerate(array, 1), _object, source=str(path), bad_rows=bad_rows)


def _cell_rows(path: Path, bad_rows: BadRows, *, delimiter: str) -> Rows:
    records = _records(path, delimiter)
    _, header = next(records, (1, [""]))
    if len(set(header)) < len(header) or not all(header):
        raise DataError(
            f"the header {header} names a column twice or not at all",
            source=str(path),
            row=1,
            remedy="give every column its own name in the first line",
        )

    def named(cells: list[str]) -> Row:
        if len(cells) == len(header):
            return dict(zip(header, cells, strict=True))
        problem = f"found {len(cells)} cells where the header has {len(header)}"
        raise RowError(problem, remedy="quote the cells that contain delimiters")

    yield from parsed_rows(records, named, source=str(path), bad_rows=bad_rows)


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses cells over 128 KiB
    lines = parsed_rows(_lines(path), _decoded, source=str(path), bad_rows=refuse)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    row = 1
    try:
        for cells in reader:
            if cells:
                yield row, cells
            row = reader.line_num + 1
    except csv.Error as error:
        problem = f"malformed quoting: {error}"
        raise DataError(problem, source=str(path), row=row, remedy="close the quotes") from error


def _parquet_rows(path: Path, bad_rows: BadRows) -> Rows:
    data = io.BytesIO(_whole(path)) if path.suffix == ".gz" else path
    return enumerate(parquet_rows(data, source=str(path)), 1)


_READERS: dict[str, Callable[[Path, BadRows], Rows]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": partial(_cell_rows, delimiter=","),
    ".tsv": partial(_cell_rows, delimiter="\t"),
    ".parquet": _parquet_rows,
    ".txt": _text_rows,
}
