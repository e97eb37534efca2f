"""Atomic writes and content hashes."""

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder for what becomes `path` when it is whole."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file, or a folder that it is in, has a name as `temporary_beside` gives it.

    >>> is_temporary(".model.0f3a99c1.tmp/config.json"), is_temporary("notes.tmp")
    (True, False)
    """
    return any(_TEMPORARY.fullmatch(part) for part in name.split("/"))


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes left half-written below a folder; links are not followed."""
    for parent, folders, files in os.walk(folder):
        for name in filter(is_temporary, folders + files):
            remove(Path(parent, name))
        folders[:] = [name for name in folders if not is_temporary(name)]


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def atomic_writer(path: Path) -> Generator[IO[bytes]]:
    """A binary file that becomes `path` when the block ends; if anything raises, nothing remains.

    The folder is made. The bytes reach the disk before the name does, so a reader sees the old
    file or the whole new one, also after a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def system_errors(path: Path) -> Generator[None]:
    """What libraries that write `path` by themselves say of the system, as the `OSError` it was.

    safetensors reports a full disk as an exception of its own, with `(os error 28)` in its text.
    """
    try:
        yield
    except Exception as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if isinstance(error, OSError) or not code:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def json_line(value: object) -> str:
    """A plain value as one line of JSON that every parser reads.

    What JSON has no number for is written as text that `float` reads: "nan", "inf", "-inf".
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json_line(_named_infinities(value))
    return line if _is_utf8(line) else json.dumps(value)


def _named_infinities(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {
                name: _named_infinities(v) for name, v in cast("dict[str, object]", value).items()
            }
        case list() | tuple():
            return [_named_infinities(item) for item in cast("list[object]", value)]
        case _:
            return value


def _is_utf8(text: str) -> bool:
    """False for text with half of a surrogate pair, which JSON has to escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_SETTLED_SECONDS = 2.0
"""A file this old is not written again within one tick of the file system's clock."""
_hashes: dict[tuple[int, ...], str] = {}


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    A file that this process has hashed and that nobody has written since is not read again.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        version = (status.st_dev, status.st_ino, status.st_size)
        version += (status.st_mtime_ns, status.st_ctime_ns)
        if version not in _hashes:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS:
                return digest
            _hashes[version] = digest
        return _hashes[version]


def files_below(folder: Path) -> list[str]:
    """The names of all files below a folder, relative to it, with `/`, sorted."""
    found = (
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    )
    return sorted(found)


def sha256_tree(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, in hex."""
    tree = hashlib.sha256()
    for name in files_below(folder):
        tree.update(f"{sha256_file(folder / name)} {name}\n".encode("utf-8", "surrogateescape"))
    return tree.hexdigest()
