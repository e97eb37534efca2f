"""Tables as people have them: columns under their own names, winners, and responses to judge."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from palate.exchange.importing import preview_file
from palate.records import Choice, Judgement, Preference, Rating, Scores, Tie
from palate.store.errors import DataError, Skipped
from palate.store.formats import (
    Reading,
    read_demonstrations,
    read_groups,
    read_judged,
    read_preferences,
    read_prompts,
    read_unpaired,
    row_of,
    write_rows,
)


def table(folder: Path, text: str) -> str:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_columns_under_other_names_are_read_as_the_fields_that_they_are(tmp_path):
    source = table(tmp_path, "question,good,bad\nAny tea?,Yes.,No.\n")
    reading = Reading(columns={"prompt": "question", "chosen": "good", "rejected": "bad"})
    (row,) = read_preferences(source, reading)
    assert row.group.prompt.text == "Any tea?"
    assert [response.text for response in row.group.responses] == ["Yes.", "No."]
    assert row_of(row, source, reading) == 2


def test_columns_may_change_places(tmp_path):
    source = table(tmp_path, "prompt,chosen,rejected\nQ,bad,good\n")
    swapped = Reading(columns={"chosen": "rejected", "rejected": "chosen"})
    (row,) = read_preferences(source, swapped)
    assert row.group.responses[0].text == "good"


def test_a_column_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    source = table(tmp_path, "question,chosen,rejected\nQ,a,b\n")
    with pytest.raises(DataError, match=r"no column 'qestion' .*did you mean 'question'"):
        list(read_preferences(source, Reading(columns={"prompt": "qestion"})))


@pytest.mark.parametrize(
    ("header", "nearest", "remedy"),
    [
        ("question,good_answer,bad_answer", "questions (question, chosen", "--column chosen="),
        ("prompt,good,bad", "TRL explicit (prompt, chosen", 'chosen = "COLUMN"'),
        ("Prompt,Chosen,Rejected", "TRL explicit (prompt", 'prompt = "Prompt", chosen = "Chosen"'),
    ],
)
def test_the_nearest_format_of_a_table_is_one_that_a_table_can_have(
    tmp_path, header, nearest, remedy
):
    source = table(tmp_path, header + "\nQ,a,b\n")
    with pytest.raises(DataError) as caught:
        list(read_judged(source, judge="j"))
    assert nearest in str(caught.value)
    assert remedy in str(caught.value)
    assert "OpenAssistant" not in str(caught.value)


@pytest.mark.parametrize(
    ("winner", "verdict"),
    [
        ("a", Choice(chosen=0)),
        ("B", Choice(chosen=1)),
        (" Response A ", Choice(chosen=0)),
        ("model_b", Choice(chosen=1)),
        ("Tie", Tie()),
        ("tie (bothbad)", Tie(both_bad=True)),
        ("both_bad", Tie(both_bad=True)),
    ],
)
def test_a_winner_is_the_choice_that_somebody_made(tmp_path, winner, verdict):
    text = f"prompt,response_a,response_b,winner,judge,model_a\nQ,x,y,{winner},ann,small\n"
    (row,) = read_judged(table(tmp_path, text), judge="import:f")
    (said,) = row.judgements
    assert (said.verdict, said.judge) == (verdict, "import:f/ann")
    assert [response.policy for response in row.group.responses] == ["small", ""]


def test_a_winner_of_many_beats_all_others(tmp_path):
    text = "prompt,response_1,response_2,response_3,winner\nQ,x,y,z,2\nQ,x,y,,response_1\n"
    first, second = read_preferences(table(tmp_path, text))
    assert first.preferences == (Preference(winner=1, loser=0), Preference(winner=1, loser=2))
    assert second.preferences == (Preference(winner=0, loser=1),)


@pytest.mark.parametrize("winner", ["c", "", "0", "1"])
def test_a_winner_that_is_none_of_the_responses_is_refused(tmp_path, winner):
    text = f"prompt,response_a,response_b,winner\nQ,x,y,{winner}\n"
    with pytest.raises(DataError, match=r"row 2 .*field 'winner': expected a, b, tie or both_bad"):
        list(read_preferences(table(tmp_path, text)))


def test_pairs_without_a_winner_are_groups_to_judge(tmp_path):
    source = table(tmp_path, "prompt,response_a,response_b\nQ,x,y\n")
    (group,) = read_groups(source)
    assert [response.text for response in group.responses] == ["x", "y"]
    with pytest.raises(DataError, match=r"nobody has said which .*--kind groups"):
        list(read_judged(source, judge="j"))
    many = table(tmp_path, "prompt,response_1,response_2,response_3\nQ,x,y,z\nR,x,y,\n")
    assert [group.k for group in read_groups(many)] == [3, 2]
    gap = table(tmp_path, "prompt,response_1,response_2,response_3\nQ,x,,z\n")
    with pytest.raises(DataError, match="field 'response_2': is empty, but a later one is not"):
        list(read_groups(gap))


@pytest.mark.parametrize("margin", ["1_000", "1e31", "nan", "0,5"])
def test_only_numbers_are_numbers(tmp_path, margin):
    text = f'prompt,chosen,rejected,margin\nQ,a,b,"{margin}"\n'
    with pytest.raises(DataError, match="field 'margin': expected a finite number"):
        list(read_preferences(table(tmp_path, text)))


def test_a_preview_names_what_is_ignored_and_says_a_mistake_once(tmp_path):
    lines = ["prompt,chosen,rejected,colour", f"Q,{'x' * 10_000},b,red"]
    source = table(tmp_path, "\n".join(lines + [f"Q{i},same,same,red" for i in range(50)]))
    with (tmp_path / "said").open("w") as file:
        preview_file(source, kind="preferences", console=Console(file=file, width=200))
    said = (tmp_path / "said").read_text()
    assert "fields that are not read: colour" in said
    assert said.count("is equal to the one") == 1
    assert "row 3 (the header is row 1)" in said
    assert "(50 rows like it)" in said
    assert len(said) < 2_000


def test_a_preview_of_nothing_says_so(tmp_path):
    source = table(tmp_path, "prompt,chosen,rejected\n")
    with (tmp_path / "said").open("w") as file:
        preview_file(source, kind="preferences", console=Console(file=file, width=200))
    assert "there is no row to import in it" in (tmp_path / "said").read_text()


def test_rows_written_as_csv_are_read_as_the_same_pairs(tmp_path):
    turns = [{"role": "user", "content": "=1+1\r\n"}]
    answers = {s: [{"role": "assistant", "content": s}] for s in ("chosen", "rejected")}
    path = tmp_path / "rows.csv"
    assert write_rows(path, [{"prompt": turns, **answers, "margin": -1.5}]) == 1
    (row,) = read_preferences(str(path))
    assert row.group.prompt.text == "=1+1\r\n"
    assert row.preferences == (Preference(winner=0, loser=1, margin=-1.5),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": {"kind": "choice", "chosen": "1"}},
        {"verdict": {"kind": "choice", "chosen": True}},
        {"verdict": {"kind": "rating", "values": ["1", 2]}},
        {"verdict": {"kind": "scores", "values": [1e308, 1.0]}},
        {"verdict": {"kind": "scores", "values": ["1", 1.0]}},
        {"verdict": {"kind": "tie"}, "seconds": -5},
        {"verdict": {"kind": "tie"}, "seconds": "5"},
    ],
)
def test_a_judgement_takes_only_numbers_that_are_some(wrong):
    with pytest.raises(ValidationError):
        Judgement.model_validate({"group_id": "g", "judge": "j", **wrong})
    assert Scores(values=(1, 2.5)).values == (1.0, 2.5)
    assert Rating.model_validate({"values": [4.0]}).values == (4,)  # a column of Parquet


FIELDS = """prompt chosen rejected group judgements preferences messages completions context label
instruction history conversations response_a response_b response_1 winner message_tree_id
overall_preference response1 response2 role text replies rank verdict kind content"""
NAMES = tuple(FIELDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8), max_size=8))
def test_no_row_is_more_than_an_error_about_data(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    readers = (read_prompts, read_demonstrations, read_preferences, read_unpaired, read_groups)
    for read in readers:
        with contextlib.suppress(DataError):
            list(read(str(path), bad_rows=Skipped()))
    with contextlib.suppress(DataError):
        list(read_judged(str(path), judge="j", bad_rows=Skipped()))


def battle(folder: Path, *before: str, **fields: object) -> str:
    """An arena's row: shared turns and two answers; `before` is what b said instead of them."""
    question = {"role": "user", "content": "Any tea?"}
    early = [{"role": "assistant", "content": "What?"}, {"role": "user", "content": "Tea!"}]
    other = [{"role": "assistant", "content": before[0]}, early[1]] if before else early
    row = {
        "conversation_a": [question, *early, {"role": "assistant", "content": "Yes."}],
        "conversation_b": [question, *other, {"role": "assistant", "content": "No."}],
        "model_a": "one",
        "model_b": "two",
        **fields,
    }
    (folder / "battles.ndjson").write_text(json.dumps(row) + "\n")
    return str(folder / "battles.ndjson")


@pytest.mark.parametrize(
    ("winner", "verdict"),
    [
        ("model_a", Choice(chosen=0)),
        ("model_b", Choice(chosen=1)),
        ("tie", Tie()),
        ("tie (bothbad)", Tie(both_bad=True)),
    ],
)
def test_an_arenas_battle_is_the_choice_of_its_judge(tmp_path, winner, verdict):
    source = battle(tmp_path, winner=winner, judge="ann")
    (row,) = read_judged(source, judge="import:battles.ndjson")
    assert [message.content for message in row.group.prompt.messages][1:] == ["What?", "Tea!"]
    responses = [(response.text, response.policy) for response in row.group.responses]
    assert responses == [("Yes.", "one"), ("No.", "two")]
    (judgement,) = row.judgements
    assert (judgement.judge, judgement.verdict) == ("import:battles.ndjson/ann", verdict)


def test_a_battle_is_a_preference_or_without_a_winner_a_group(tmp_path):
    (row,) = read_preferences(battle(tmp_path, winner="model_b"))
    assert [(one.winner, one.loser) for one in row.preferences] == [(1, 0)]
    (group,) = read_groups(battle(tmp_path))
    assert group == row.group


def test_a_battle_that_parts_before_its_last_answer_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"row 1, field 'conversation_b': parts from"):
        list(read_preferences(battle(tmp_path, "Pardon?", winner="model_a")))
