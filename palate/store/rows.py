"""The rows of tabular files and Hub datasets, streaming."""

import difflib
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

from palate.store.cells import cell_rows
from palate.store.errors import BadRows, DataError, RowError, described, parsed_rows, refuse
from palate.store.lines import Limits, decoded, lines, too_long, whole
from palate.store.tables import Row, hub_rows, parquet_rows

Rows = Iterator[tuple[int, Row]]
"""Row number and row: the 1-based line where rows are lines, that of a spreadsheet for CSV and TSV,
else the 1-based index."""
USUAL = Limits()


def read_rows(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse, limits: Limits = USUAL
) -> Rows:
    """The rows of a .jsonl, .ndjson, .json, .csv, .tsv, .parquet or .txt file (each may be .gz), or
    of one split of a Hub dataset named `name`, `org/name` or `org/name:config`.

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
        return reader(path, bad_rows, limits)
    if reader is None and may_be_of_the_hub(source):
        return enumerate(hub_rows(source, split=split), 1)
    kinds = f"; files of rows end in {', '.join(_READERS)}" if reader is None else ""
    raise DataError("no such file", source=source, remedy=_nearest(path) + kinds)


def read_document(source: str, limits: Limits = USUAL) -> str:
    """The whole text of one UTF-8 file (which may be .gz)."""
    path = Path(source)
    if not path.is_file():
        raise DataError("no such file", source=source, remedy=_nearest(path))
    try:
        return decoded(whole(path, limits))
    except RowError as error:
        raise DataError(error.problem, source=source, remedy=error.remedy) from error


def may_be_of_the_hub(source: str) -> bool:
    """Whether a name that is no file here can be that of a Hub data set, `name`, `org/name` or
    `org/name:config`, by the Hub's own rules; what was meant for a file cannot: it has a suffix or
    a folder that is there."""
    path, name = Path(source), source.partition(":")[0]
    named_here = path.parent.is_dir() if path.parent != Path() else bool(path.suffix)
    return (
        not named_here
        and len(name) <= _LONGEST_HUB_NAME
        and not re.search(r"--|\.\.|\.git$", name)
        and bool(_HUB_NAME.fullmatch(source))
    )


_LONGEST_HUB_NAME = 96
_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"{_PART}(/{_PART}(:[\w.-]+)?)?", re.ASCII)


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"check the path; there is no folder '{path.parent}'"
    names = sorted(entry.name for entry in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return f"check the name; nearest in '{path.parent}': {', '.join(near)}"
    return f"check the path; '{path.parent}' holds {', '.join(names[:5]) or 'nothing'}"


def _object(value: object) -> Row:
    if isinstance(value, dict):
        return cast(Row, value)
    problem = f"expected an object, found {described(value)}"
    raise RowError(problem, remedy='write every row as {"field": value, ...}')


def _unique(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("stands twice in one object", field=twice, remedy="keep one of them")
    return row


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _json(data: bytes) -> object:
    try:
        return _JSON.decode(decoded(data))
    except (ValueError, RecursionError) as error:
        raise RowError(f"malformed JSON: {error}", remedy="write one object per row") from error


def _full_lines(path: Path, limits: Limits) -> Iterator[tuple[int, bytes]]:
    return ((row, line) for row, line in lines(path, limits) if line.strip())


def _text_rows(path: Path, bad_rows: BadRows, limits: Limits) -> Rows:
    return parsed_rows(
        _full_lines(path, limits),
        lambda line: {"text": decoded(line).rstrip("\r\n")},
        source=str(path),
        bad_rows=bad_rows,
    )


def _jsonl_rows(path: Path, bad_rows: BadRows, limits: Limits) -> Rows:
    return parsed_rows(
        _full_lines(path, limits),
        lambda line: _object(_json(line)),
        source=str(path),
        bad_rows=bad_rows,
    )


def _json_rows(path: Path, bad_rows: BadRows, limits: Limits) -> Rows:
    data = whole(path, limits)
    if not data.lstrip().startswith(b"["):
        return _jsonl_rows(path, bad_rows, limits)  # JSON Lines under the name .json are common
    return parsed_rows(_array(path, data, limits), _object, source=str(path), bad_rows=bad_rows)


_GAP = re.compile(r"[ \t\r\n]*")


def _array(path: Path, data: bytes, limits: Limits) -> Iterator[tuple[int, object]]:
    """The items of an array, one at a time, so that what is wrong with one has its number."""
    row = 0
    try:
        text = decoded(data)
        at = _past_gap(text, _past_gap(text, 0) + 1)
        more = text[at : at + 1] != "]"
        while more:
            row += 1
            value, end = _JSON.raw_decode(text, at)
            if end - at > limits.row:
                raise too_long(path, row, limits)
            yield row, value
            at = _past_gap(text, end)
            more = text[at : at + 1] == ","
            if more:
                at = _past_gap(text, at + 1)
            elif text[at : at + 1] != "]":
                raise RowError("malformed JSON: expected ',' or ']'")
        if text[at + 1 :].strip():
            raise RowError("malformed JSON: there is more after the array")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"malformed JSON: {error}", source=str(path), row=row, remedy="repair the array"
        ) from error
    except RowError as error:
        raise DataError(
            error.problem, source=str(path), row=row, field=error.field, remedy="repair the array"
        ) from error


def _past_gap(text: str, start: int) -> int:
    """The place after white space."""
    gap = _GAP.match(text, start)
    assert gap
    return gap.end()


def _parquet_rows(path: Path, bad_rows: BadRows, limits: Limits) -> Rows:
    del bad_rows
    data = io.BytesIO(whole(path, limits)) if path.suffix == ".gz" else path
    return enumerate(parquet_rows(data, source=str(path), limits=limits), 1)


_READERS: dict[str, Callable[[Path, BadRows, Limits], Rows]] = {
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".json": _json_rows,
    ".csv": partial(cell_rows, separator=","),
    ".tsv": partial(cell_rows, separator="\t"),
    ".parquet": _parquet_rows,
    ".txt": _text_rows,
}
