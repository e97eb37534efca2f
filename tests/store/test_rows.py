"""Rows of every kind of file, and errors that name the file, the row and the remedy."""

import contextlib
import csv
import gzip
import json
import os
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.store.cells import write_cells
from palate.store.errors import DataError, Skipped
from palate.store.formats import read_texts, write_rows
from palate.store.lines import Limits
from palate.store.rows import may_be_of_the_hub, read_rows

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
    assert [number for number, _ in rows] == ([2, 3] if kind in ("csv", "tsv") else [1, 2])


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
        ('a,b\n1,2\n"3,4\n', "row 3 .*: malformed quoting"),
        ("a,b\n1,2\n3\n", "row 3 .*: found 1 cells where the header has 2"),
        ('a,b\n"1\n1\n1",2\n\n3\n', "row 4 .*: found 1 cells where the header has 2"),
        ('a,b\n"1\n1",2\n\n3,caf\xe9\n', r"row 4 .*: byte 6 \(0xe9\) is not UTF-8"),
        ("a,a\n1,2\n", r"row 1 .*: the header names a column twice \(a\)"),
        ("", "row 1 .*: there is no header"),
    ],
)
def test_a_malformed_table_is_an_error_with_its_row_in_a_spreadsheet(tmp_path, text, problem):
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=problem):
        list(read_rows(str(path)))


@pytest.mark.parametrize(
    "text",
    [
        "prompt;chosen\nHi;Yes, it is.\n",
        "prompt\tchosen\nHi\tYes, it is.\n",
        "sep=;\r\nprompt;chosen\r\nHi;Yes, it is.\r\n",
        ' prompt , chosen ,\nHi,"Yes, it is.",\n,,\n\n,,\n',
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    rows = [(number, row) for number, row in read_rows(str(path))]
    assert [(n, row["prompt"], row["chosen"]) for n, row in rows] == [(2, "Hi", "Yes, it is.")]


def test_a_column_without_a_name_has_the_letters_of_its_place(tmp_path):
    (tmp_path / "rows.csv").write_text("," * 27 + "a\n" + "1," * 27 + "x\n")
    ((_, row),) = read_rows(str(tmp_path / "rows.csv"))
    assert list(row)[::26] == ["(column A)", "(column AA)"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"a": st.text(), "b c": st.text(alphabet="=+-@'\"\t\r\n, ;x")}),
        min_size=1,
    )
)
def test_what_is_written_as_csv_is_read_back_and_no_cell_is_a_formula(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("wb") as file:
        write_cells(file, ["a", "b c"], rows)
    assert [row for _, row in read_rows(str(path))] == [row for row in rows if any(row.values())]
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_row_over_the_limit_is_refused_before_it_is_read_whole(tmp_path, zipped):
    small = Limits(row=1000, unpacked=10_000)
    for kind, text in {
        "jsonl": '{"a": "b"}\n{"a": "' + "x" * 1000 + '"}\n',
        "csv": 'a,b\n1,2\n"' + "x\n" * 1000,
        "json": '[{"a": "b"}, {"a": "' + "x" * 1000 + '"}]',
        "txt": "One.\n" + "x" * 1001,
    }.items():
        path = tmp_path / f"rows.{kind}{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
        with pytest.raises(DataError, match=r"row \d.*: the row is longer than .*row_mib"):
            list(read_rows(str(path), limits=small))


def test_a_compressed_file_is_unpacked_only_as_far_as_the_limit(tmp_path):
    small = Limits(unpacked=2**14)
    for kind, line in {
        "jsonl": b'{"a": 1}\n',
        "csv": b"a\n",
        "json": b"[1,",
        "txt": b"x\n",
    }.items():
        path = tmp_path / f"rows.{kind}.gz"
        path.write_bytes(gzip.compress(line * 2**14))
        with pytest.raises(DataError, match=r"unpacked, it is larger than .* MiB.*unpacked_mib"):
            list(read_rows(str(path), limits=small))
    path = tmp_path / "rows.parquet"
    write_rows(path, ({"text": f"{i:08d}" * 1000} for i in range(4)))
    with pytest.raises(DataError, match="unpacked, it is larger than"):
        list(read_rows(str(path), limits=small))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_of_nothing_but_newlines_is_refused_soon(tmp_path, kind):
    path = tmp_path / f"rows.{kind}.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**24))
    with pytest.raises(DataError, match="a million"):
        list(read_rows(str(path)))


def test_a_field_that_stands_twice_is_refused_by_its_name(tmp_path):
    twice = '{"chosen": "a", "chosen": "b"}'
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' + twice)
    with pytest.raises(DataError, match=r"row 2, field 'chosen': stands twice"):
        list(read_rows(str(tmp_path / "rows.jsonl")))
    (tmp_path / "rows.json").write_text('[{"a": 1}, {"b": ' + twice + "}]")
    with pytest.raises(DataError, match=r"row 2, field 'chosen': stands twice"):
        list(read_rows(str(tmp_path / "rows.json")))


@pytest.mark.parametrize(
    ("text", "rows", "problem"),
    [
        ('[{"a": 1} {"a": 2}]', 1, "row 1: malformed JSON: expected ','"),
        ('[{"a": 1},]', 1, "row 2: malformed JSON: Expecting value"),
        ('[{"a": 1}', 1, "row 1: malformed JSON: expected"),
        ('[{"a": 1}] []', 1, "there is more after"),
        ("[" * 100_000, 0, "row 1: malformed JSON"),
    ],
)
def test_a_broken_array_gives_its_whole_items_and_then_an_error(tmp_path, text, rows, problem):
    (tmp_path / "rows.json").write_text(text)
    found = []
    with pytest.raises(DataError, match=problem):
        found.extend(read_rows(str(tmp_path / "rows.json")))
    assert found == [(i, {"a": i}) for i in range(1, rows + 1)]


@pytest.mark.parametrize("text", ["", "[]", " [ ] ", "\n\n"])
def test_a_file_of_no_rows_has_no_rows(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    assert list(read_rows(str(tmp_path / "rows.json"))) == []


@pytest.mark.parametrize(
    ("start", "problem"),
    [(b"PK\x03\x04", "an Excel workbook"), (b"\x1f\x8b", "gzip"), (b"\xff\xfea\0", "UTF-16 text")],
)
def test_a_file_under_a_false_name_is_refused_with_what_it_is(tmp_path, start, problem):
    for kind in ("jsonl", "json", "csv", "txt"):
        (tmp_path / f"rows.{kind}").write_bytes(start)
        with pytest.raises(DataError, match=problem):
            list(read_rows(str(tmp_path / f"rows.{kind}")))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "parquet"]))
def test_no_bytes_are_more_than_an_error_about_data(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("bytes") / f"rows.{kind}"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        list(read_rows(str(path), bad_rows=Skipped()))


def test_a_parquet_file_with_any_byte_flipped_is_refused_or_read(tmp_path):
    path = tmp_path / "rows.parquet"
    write_rows(path, [{"text": f"row {i}", "turns": [{"role": "user"}]} for i in range(5)])
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with contextlib.suppress(DataError):
            list(read_rows(str(path)))


def test_a_parquet_column_of_text_that_is_not_utf8_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    bad = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet, row 1: not a whole Parquet file.*utf-8"):
        list(read_rows(str(tmp_path / "rows.parquet")))


def test_a_missing_file_is_told_with_its_nearest_names(tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no such file. Remedy: .*nearest in .*: train\.jsonl"):
        read_rows(str(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match=r"no such file.*end in \.jsonl"):
        read_rows("pairs.xlsx")
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


@pytest.mark.parametrize(
    "name", ["my--data", "data-", "pairs.git", "a..b", "donn\xe9es", "x" * 97, "here/pairs", "-a"]
)
def test_what_cannot_be_a_hub_name_is_a_file_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert not may_be_of_the_hub(name)
    with pytest.raises(DataError, match=r"no such file\. Remedy: "):
        read_rows(name)
    assert all(map(may_be_of_the_hub, ("org/my-data_2.0:config", "squad")))
