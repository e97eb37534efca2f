"""Rows of every kind of file, and errors that name the file, the row and the remedy."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc

import pytest

from palate.store.errors import DataError, Skipped
from palate.store.formats import read_texts, write_rows
from palate.store.rows import read_rows

ROWS = [{"prompt": 'a,"b"\nc', "n": "1"}, {"prompt": "Gr\u00fc\u00dfe \U0001f600", "n": "2"}]


def contents(kind: str) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    table = 'prompt,n\r\n"a,""b""\nc",1\r\nGr\u00fc\u00dfe \U0001f600,2\r\n'
    return {
        "jsonl": "\n".join(lines) + "\n\n",
        "json": json.dumps(ROWS),
        "csv": table,
        "tsv": table.replace(",1", "\t1").replace(",2", "\t2").replace("prompt,n", "prompt\tn"),
    }[kind].encode()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_every_text_table_gives_the_same_rows(tmp_path, kind, zipped):
    path = tmp_path / f"rows.{kind}{'.gz' if zipped else ''}"
    data = contents(kind)
    path.write_bytes(gzip.compress(data) if zipped else data)
    rows = list(read_rows(str(path)))
    assert [row for _, row in rows] == ROWS
    assert [number for number, _ in rows] == ([2, 4] if kind in ("csv", "tsv") else [1, 2])


@pytest.mark.parametrize("zipped", [False, True])
def test_parquet_rows_and_their_nested_messages_come_back(tmp_path, zipped):
    rows = [{"messages": [{"role": "user", "content": str(i)}], "n": i} for i in range(3000)]
    path = tmp_path / "rows.parquet"
    assert write_rows(path, rows) == 3000
    if zipped:
        packed = gzip.compress(path.read_bytes())
        path = tmp_path / "rows.parquet.gz"
        path.write_bytes(packed)
    assert list(read_rows(str(path))) == list(enumerate(rows, 1))


def test_a_json_file_may_hold_json_lines(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(contents("jsonl"))
    assert [row for _, row in read_rows(str(path))] == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_field(tmp_path):
    for kind in ("jsonl", "json", "csv"):
        path = tmp_path / f"rows.{kind}"
        path.write_bytes(b"\xef\xbb\xbf" + contents(kind))
        assert next(read_rows(str(path)))[1] == ROWS[0]


def test_lines_of_text_are_rows_but_a_text_file_is_one_document(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_bytes(b"One.\r\n\r\n Two.\n")
    assert list(read_rows(str(path))) == [(1, {"text": "One."}), (3, {"text": " Two."})]
    assert list(read_texts(str(path))) == ["One.\r\n\r\n Two.\n"]


def test_texts_come_from_the_named_field_and_blank_ones_are_left_out(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"story": "One."}\n{"story": " "}\n{"story": "Two."}\n')
    assert list(read_texts(str(path), "story")) == ["One.", "Two."]
    with pytest.raises(DataError, match=r"corpus.jsonl, row 1, field 'text': .*has story"):
        list(read_texts(str(path)))


def test_long_cells_are_read_whole(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "x" * 500_000 + "\n")
    assert next(read_rows(str(path)))[1] == {"text": "x" * 500_000}


BAD_LINES = {
    "malformed": (b'{"prompt": "a"', "malformed JSON: Expecting ',' delimiter"),
    "not UTF-8": (b'{"prompt": "caf\xe9"}', r"byte 16 \(0xe9\) is not UTF-8. Remedy: save"),
    "no object": (b'["a"]', "expected an object, found a list"),
    "too deep": (b"[" * 100_000, "malformed JSON: "),
    "huge number": (b'{"n": ' + b"1" * 5000 + b"}", "malformed JSON: "),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_an_error_with_its_number_or_is_skipped_and_counted(tmp_path, name):
    line, problem = BAD_LINES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b'\n\n{"n": 4}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl, row 2: {problem}") as caught:
        list(read_rows(str(path)))
    assert (caught.value.source, caught.value.row) == (str(path), 2)
    skipped = Skipped()
    assert list(read_rows(str(path), bad_rows=skipped)) == [(1, {"n": 1}), (4, {"n": 4})]
    assert (skipped.count, [error.row for error in skipped.first]) == (1, [2])


def test_skipping_keeps_only_the_first_errors(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("nonsense\n" * 100)
    skipped = Skipped()
    assert list(read_rows(str(path), bad_rows=skipped)) == []
    assert skipped.count == 100
    assert [error.row for error in skipped.first] == list(range(1, 21))


def test_a_truncated_gzip_file_gives_its_whole_rows_and_then_an_error(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    lines = [json.dumps({"n": os.urandom(2000).hex()}) for _ in range(50)]
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-30_000])
    rows = []
    with pytest.raises(DataError, match=r"row \d+: the file is cut short or damaged") as caught:
        rows.extend(read_rows(str(path), bad_rows=Skipped()))
    assert 0 < len(rows) < 50
    assert caught.value.row == len(rows) + 1


@pytest.mark.parametrize("name", ["rows.json.gz", "rows.csv.gz", "rows.parquet.gz", "rows.txt.gz"])
def test_a_file_that_only_claims_to_be_gzip_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"plain text, not compressed")
    with pytest.raises(DataError, match="cut short or damaged"):
        list(read_rows(str(path)))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    write_rows(path, [{"n": i} for i in range(10)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"rows\.parquet, row 1: not a whole Parquet file"):
        list(read_rows(str(path)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('a,b\n1,2\n"3,4\n', "row 3: malformed quoting"),
        ("a,b\n1,2\n3\n", "row 3: found 1 cells where the header has 2"),
        ("a,a\n1,2\n", "row 1: the header .* names a column twice"),
        ("", "row 1: the header .* or not at all"),
    ],
)
def test_a_malformed_table_is_an_error_with_its_line(tmp_path, text, problem):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=problem):
        list(read_rows(str(path)))


def test_a_missing_file_is_told_with_its_nearest_names(tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no such file. Remedy: .*nearest in .*: train\.jsonl"):
        read_rows(str(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match="there is no folder"):
        read_rows(str(tmp_path / "nowhere" / "train.jsonl"))


def test_a_folder_and_an_unknown_kind_of_file_are_refused_with_a_remedy(tmp_path):
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(DataError, match=r"is a folder \(with model.bin\). Remedy: name one file"):
        read_rows(str(tmp_path))
    with pytest.raises(DataError, match=r"end in '.bin'. Remedy: convert it to one of .jsonl"):
        read_rows(str(tmp_path / "model.bin"))


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_reading_a_large_file_keeps_a_small_part_of_it_in_memory(tmp_path, kind):
    path = tmp_path / f"large.{kind}"
    write_rows(path, ({"text": f"{i:08d}" * 1000} for i in range(4096)))
    tracemalloc.start()
    assert sum(1 for _ in read_rows(str(path))) == 4096
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24  # the text alone is 32 MB; Parquet rows come 1024 at a time


def test_importing_the_store_imports_neither_torch_nor_datasets():
    code = """
import sys
import palate.store.database, palate.store.formats, palate.store.runs
print([name for name in ("torch", "transformers", "datasets", "pyarrow") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
