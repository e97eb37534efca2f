"""The bytes of a file, line by line or whole, as far as the limits on what is read allow."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from palate.store.errors import DataError, RowError

MIB = 2**20
_BLANK_LINES = 2**20
"""A spreadsheet has no more rows than this, so a longer run of blank lines is no table."""
_BOM = b"\xef\xbb\xbf"
_GzipError = (EOFError, gzip.BadGzipFile, zlib.error)
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "save it as CSV (UTF-8)"),
    b"\x1f\x8b": ("compressed by gzip", "end its name in .gz"),
    b"PAR1": ("a Parquet file", "end its name in .parquet"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest row of a file, and the largest size of a compressed file unpacked, in bytes."""

    row: int = 64 * MIB
    unpacked: int = 4096 * MIB


def opened(path: Path) -> IO[bytes]:
    """A file, unpacked where its name ends in .gz."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def damaged(path: Path, row: int, problem: object) -> DataError:
    """A file that ends too early, or that is not what its name says."""
    return DataError(
        f"the file is cut short or damaged ({problem})",
        source=str(path),
        row=row,
        remedy="fetch or write it again",
    )


def too_long(path: Path, row: int, limits: Limits) -> DataError:
    """A row over the limit."""
    return DataError(
        f"the row is longer than {limits.row / MIB:g} MiB",
        source=str(path),
        row=row,
        remedy="close its quotes or end the line, or raise limits.row_mib (--row-mib)",
    )


def too_large(source: str, limits: Limits) -> DataError:
    """A compressed file over the limit."""
    return DataError(
        f"unpacked, it is larger than {limits.unpacked / MIB:g} MiB",
        source=source,
        remedy="split it, or raise limits.unpacked_mib (--unpacked-mib)",
    )


def whole(path: Path, limits: Limits) -> bytes:
    """All bytes of a file, without a byte order mark."""
    with opened(path) as file:
        try:
            if path.suffix != ".gz":
                return _text_begins(path, file.read()).removeprefix(_BOM)
            data = file.read(limits.unpacked + 1)
        except _GzipError as error:
            raise damaged(path, 0, error) from error
    if len(data) > limits.unpacked:
        raise too_large(str(path), limits)
    return data.removeprefix(_BOM)


def lines(path: Path, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1, and lines with their ends."""
    row = blank = size = 0
    with opened(path) as file:
        try:
            while line := file.readline(limits.row + 1):
                row += 1
                if len(line) > limits.row:
                    raise too_long(path, row, limits)
                size += len(line)
                if path.suffix == ".gz" and size > limits.unpacked:
                    raise too_large(str(path), limits)
                blank = 0 if line.strip() else blank + 1
                if blank > _BLANK_LINES:
                    raise damaged(path, row, "more than a million blank lines follow each other")
                yield row, line if row > 1 else _text_begins(path, line).removeprefix(_BOM)
        except _GzipError as error:
            raise damaged(path, row + 1, error) from error


def _text_begins(path: Path, data: bytes) -> bytes:
    for mark, (kind, remedy) in _FOREIGN.items():
        if data.startswith(mark) and path.suffix != ".parquet":
            raise DataError(f"is {kind}, not text", source=str(path), remedy=remedy)
    return data


def decoded(data: bytes) -> str:
    """UTF-8 bytes as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RowError(
            f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8",
            remedy="save the file as UTF-8",
        ) from error
