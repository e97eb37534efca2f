"""Atomic writes leave the old file or the whole new one; hashes see every byte and name."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from palate.store.files import json_line, sha256_file, sha256_tree, write_bytes, write_text
from palate.store.formats import write_rows


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "manifest.json"
    write_text(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["manifest.json"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
def test_rows_that_raise_midway_leave_nothing(tmp_path, name):
    def rows():
        yield from ({"text": "x" * 1000} for _ in range(100))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path / name, rows())
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_really_full_leaves_nothing_half_written(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from palate.store.formats import write_rows
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
write_rows(Path(sys.argv[1]), ({"text": "x" * 1000} for _ in range(100)))
"""
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "File too large" in run.stderr
    assert os.listdir(tmp_path) == ["rows.jsonl"]
    assert path.read_text() == "old"


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    code = """
import itertools, sys
from pathlib import Path
from palate.store.formats import write_rows
write_rows(Path(sys.argv[1]), ({"text": "x" * 100_000} for _ in itertools.count()))
"""
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    deadline = time.monotonic() + 20
    while not any(p.stat().st_size > 1_000_000 for p in tmp_path.glob("*.tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_text() == "old"


def test_folders_on_the_way_are_made_and_modes_follow_the_umask(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_bytes(path, b"x")
    plain = tmp_path / "plain"
    plain.write_bytes(b"x")
    assert path.stat().st_mode == plain.stat().st_mode


def test_sha256_of_a_file_is_the_digest_of_its_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"palate" * 100_000)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(b"palate" * 100_000).hexdigest()


def test_the_hash_of_a_tree_sees_contents_names_and_places_but_not_time_or_location(tmp_path):
    def tree(root: str, files: dict[str, str]) -> str:
        for name, text in files.items():
            write_text(tmp_path / root / name, text)
        return sha256_tree(tmp_path / root)

    one = tree("one", {"a": "1", "sub/b": "2"})
    assert one == tree("two", {"sub/b": "2", "a": "1"})
    assert (
        len(
            {
                one,
                *(
                    tree(name, files)
                    for name, files in {
                        "content": {"a": "1", "sub/b": "3"},
                        "name": {"a": "1", "sub/c": "2"},
                        "place": {"a": "1", "b": "2"},
                        "swapped": {"a": "2", "sub/b": "1"},
                        "more": {"a": "1", "sub/b": "2", "sub/c": ""},
                    }.items()
                ),
            }
        )
        == 6
    )


def test_json_lines_are_strict_json_that_reads_back():
    value = {
        "text": "Gr\u00fc\u00dfe \u2028 \x00",
        "half": "\ud83d",
        "n": [1.5, math.inf, -math.inf],
    }
    line = json_line(value)
    assert "\n" not in line
    line.encode()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    back = json.loads(line, parse_constant=refuse)
    assert back["half"] == "\ud83d"
    assert back["text"] == value["text"]
    assert [float(x) for x in back["n"]] == value["n"]
    assert math.isnan(float(json.loads(json_line({"x": math.nan}))["x"]))
    assert "\u00fc" in json_line({"text": "\u00fc"})


def test_a_file_is_hashed_once_and_again_when_anybody_has_written_it(tmp_path, monkeypatch):
    path, read = tmp_path / "weights", []
    digest = hashlib.file_digest

    def counted(file, name):
        read.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr("palate.store.files._SETTLED_SECONDS", 0.0)
    path.write_bytes(b"one")
    first = sha256_file(path)
    assert sha256_file(path) == first
    assert len(read) == 1
    status = path.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256_file(path) != first
    assert len(read) == 2


def test_a_file_that_was_just_written_is_read_again(tmp_path):
    path = tmp_path / "weights"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        assert sha256_file(path) == hashlib.sha256(content).hexdigest()
