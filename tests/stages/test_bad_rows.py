"""Rows that cannot be read stop a stage, or are left out, counted and written down."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.load import load_recipe, load_stage
from palate.stages import doctor
from palate.stages.pipeline import run_stage
from palate.store.errors import DataError
from palate.store.runs import StageDir

GOOD = {"prompt": "2 + 2?", "responses": ["4", "5"], "reference": "4"}
ROWS = [
    json.dumps(GOOD | {"prompt": "3 + 1?"}),
    '{"prompt": "cut short',
    json.dumps(GOOD | {"responses": ["4", 5]}),
    json.dumps(GOOD),
]


def judge(folder: Path, *overrides: str) -> tuple[Path, str]:
    console = Console(record=True, width=300, quiet=False, file=(folder / "log").open("w"))
    words = [f"groups={folder / 'groups.jsonl'}", "judge=verifier:exact", *overrides]
    config = load_stage("judge", None, [*words, "held_out_fraction=0"])
    path = run_stage("judge", config, run="r", seed=0, root=folder, console=console)
    return path, console.export_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "groups.jsonl").write_text("\n".join(ROWS), encoding="utf-8")
    return tmp_path


def test_the_first_bad_row_stops_a_stage_and_nothing_looks_finished(folder: Path) -> None:
    with pytest.raises(DataError, match=r"groups.jsonl, row 2: malformed JSON.*Remedy"):
        judge(folder)
    assert not list(folder.rglob("manifest.json"))


def test_skipped_rows_are_shown_counted_and_written_down(folder: Path) -> None:
    path, said = judge(folder, "bad_rows=skip")
    summary = StageDir(path).manifest().summary
    assert (summary["groups"], summary["bad_rows"]) == (2, 2)
    assert "judge: leaves out rows that it cannot use. " in said
    assert f"left out 2 bad rows; the first are in {path / 'bad_rows.jsonl'}" in said
    rows = [json.loads(line) for line in (path / "bad_rows.jsonl").read_text().splitlines()]
    assert [(Path(row["file"]).name, row["row"], row["field"]) for row in rows] == [
        ("groups.jsonl", 2, ""),
        ("groups.jsonl", 3, "responses[1]"),
    ]
    assert all(row["problem"] and row["remedy"] for row in rows)


def test_good_data_leaves_no_file_of_bad_rows(folder: Path) -> None:
    (folder / "groups.jsonl").write_text(ROWS[0] + "\n" + ROWS[3])
    path, said = judge(folder, "bad_rows=skip")
    assert not (path / "bad_rows.jsonl").exists()
    assert "bad_rows" not in StageDir(path).manifest().summary
    assert "left out" not in said


def test_data_of_bad_rows_alone_is_refused_all_the_same(folder: Path) -> None:
    (folder / "groups.jsonl").write_text(ROWS[1])
    with pytest.raises(DataError, match="no groups in it"):
        judge(folder, "bad_rows=skip")


@pytest.mark.parametrize(("choice", "well"), [("refuse", False), ("skip", True)])
def test_doctor_counts_what_would_be_skipped(folder: Path, choice: str, well: bool) -> None:
    (folder / "r.toml").write_text(
        f'[judge]\ngroups = "{folder / "groups.jsonl"}"\njudge = "verifier:exact"\n'
        f'bad_rows = "{choice}"\nheld_out_fraction = 0\n'
    )
    console = Console(record=True, width=400, file=(folder / "log").open("w"))
    assert doctor.run(load_recipe(folder / "r.toml"), root=folder, console=console) is well
    said = console.export_text()
    assert "2 of 4 rows cannot be read" in said
    assert ("will be left out, the first: " in said) is well


def test_a_group_of_one_response_is_refused_by_row_or_left_out(folder: Path) -> None:
    rows = [GOOD, GOOD | {"prompt": "1 + 1?", "responses": ["2"]}]
    (folder / "groups.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=r"groups.jsonl, row 2, field 'responses': has one.*k = 2"):
        judge(folder)
    path, said = judge(folder, "bad_rows=skip")
    assert "left out 1 bad rows" in said
    assert StageDir(path).manifest().summary["preferences"] == 1
    (folder / "groups.jsonl").write_text(json.dumps(rows[1]), encoding="utf-8")
    with pytest.raises(DataError, match="no group has two responses"):
        judge(folder, "bad_rows=skip")
