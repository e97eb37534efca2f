"""What is written is read back the same, and equal content gives equal bytes."""

import gzip
import json
import math
from pathlib import Path

import pytest

from palate.records import (
    Demonstration,
    Group,
    Message,
    Preference,
    PreferenceGroup,
    Prompt,
    Ranking,
    Response,
    Sampling,
    Unpaired,
    preferences_of,
    user_prompt,
)
from palate.store.errors import DataError
from palate.store.formats import (
    completion_row,
    demonstration_row,
    graded_preference_rows,
    preference_rows,
    prompt_row,
    ranking_row,
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_unpaired,
    record_row,
    unpaired_row,
    write_rows,
)
from palate.store.rows import read_rows

FILES = ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"]
PROMPT = Prompt(
    messages=(
        Message(role="system", content=""),
        Message(role="user", content="Gr\u00fc\u00dfe, \U0001f600 \u2028 \x00 \\n\r\n\t"),
        Message(role="assistant", content=" Hello. "),
        Message(role="tool", content="{}"),
    ),
)


def group(*texts: str, prompt: Prompt = PROMPT) -> Group:
    return Group(prompt=prompt, responses=tuple(Response(text=text) for text in texts))


def judged(texts: str, *preferences: Preference) -> PreferenceGroup:
    return PreferenceGroup(group=group(*texts), preferences=preferences)


SAMPLED = Group(
    prompt=Prompt(token_ids=(3, 1), reference="9.00", tag="sums"),
    responses=(
        Response(text="", token_ids=(0,), policy="sft", sampling=Sampling(temperature=0.7)),
        Response(text="a", token_ids=(2**31, 0), finish="length", policy="base"),
        Response(text="a", token_ids=()),
    ),
)


@pytest.mark.parametrize("name", FILES)
def test_groups_come_back_exactly(tmp_path, name):
    groups = [SAMPLED, group("Yes.", " No. ", "\ufeff"), group("x", prompt=user_prompt("Hi"))]
    assert write_rows(tmp_path / name, map(record_row, groups)) == 3
    assert list(read_groups(str(tmp_path / name))) == groups


@pytest.mark.parametrize("name", FILES)
def test_preferences_come_back_exactly_in_palates_own_format(tmp_path, name):
    rows = [
        judged("abc", Preference(winner=2, loser=0, probability=0.3, margin=-1.5)),
        judged("ab", Preference(winner=0, loser=1), Preference(winner=0, loser=1, probability=0.5)),
        PreferenceGroup(group=SAMPLED, preferences=(Preference(winner=1, loser=2, margin=1e-17),)),
    ]
    write_rows(tmp_path / name, map(record_row, rows))
    assert list(read_preferences(str(tmp_path / name))) == rows


@pytest.mark.parametrize("name", FILES)
def test_prompts_demonstrations_and_unpaired_responses_come_back(tmp_path, name):
    path = tmp_path / name
    prompts = [
        PROMPT.model_copy(update={"reference": "9", "tag": "t"}),
        Prompt(token_ids=(1, 2)),
        PROMPT,
    ]
    write_rows(path, map(prompt_row, prompts))
    assert list(read_prompts(str(path))) == prompts
    answer = Message(role="assistant", content=" Yes.\n")
    demonstrations = [
        Demonstration(messages=(*PROMPT.messages, answer), tag="t"),
        Demonstration(messages=(*user_prompt("Hi").messages, answer)),
    ]
    write_rows(path, map(demonstration_row, demonstrations))
    assert list(read_demonstrations(str(path))) == demonstrations
    unpaired = [
        Unpaired(prompt=PROMPT, response=Response(text="Yes."), desirable=desirable)
        for desirable in (True, False)
    ]
    write_rows(path, map(unpaired_row, unpaired))
    assert list(read_unpaired(str(path))) == unpaired


@pytest.mark.parametrize("name", FILES)
def test_a_ranking_with_ties_comes_back_as_the_same_preferences(tmp_path, name):
    ranking = Ranking(ranks=(2, 0, 1, 1))
    row = PreferenceGroup(group=group(*"abcd"), preferences=preferences_of(ranking, range(4)))
    completions = ranking_row(row)["completions"]
    assert [entry["rank"] for entry in completions] == [2, 0, 1, 1]
    write_rows(tmp_path / name, [ranking_row(row)])
    assert list(read_preferences(str(tmp_path / name))) == [row]


def test_a_pair_is_exported_as_trl_writes_it_and_read_back(tmp_path):
    row = judged("ab", Preference(winner=1, loser=0))
    (exported,) = preference_rows(row)
    assert exported == {
        "prompt": [message.model_dump() for message in PROMPT.messages],
        "chosen": [{"role": "assistant", "content": "b"}],
        "rejected": [{"role": "assistant", "content": "a"}],
    }
    write_rows(tmp_path / "rows.jsonl", [exported])
    assert list(read_preferences(str(tmp_path / "rows.jsonl"))) == [
        judged("ba", Preference(winner=0, loser=1))
    ]


def test_a_tie_never_becomes_a_pair():
    tie = judged("ab", Preference(winner=0, loser=1, probability=0.5))
    assert preference_rows(tie) == graded_preference_rows(tie) == []


def test_the_more_probable_response_is_chosen_and_the_margin_keeps_its_direction(tmp_path):
    row = judged("ab", Preference(winner=0, loser=1, probability=0.25, margin=2.0))
    (exported,) = graded_preference_rows(row)
    assert exported["chosen"] == [{"role": "assistant", "content": "b"}]
    assert (exported["probability"], exported["margin"]) == (0.75, -2.0)
    assert {"prompt", "chosen", "rejected"} == set(preference_rows(row)[0])
    write_rows(tmp_path / "rows.jsonl", [exported])
    (back,) = read_preferences(str(tmp_path / "rows.jsonl"))
    assert back == judged("ba", Preference(winner=0, loser=1, probability=0.75, margin=-2.0))


def test_every_pair_of_a_group_of_k_becomes_its_own_row():
    row = PreferenceGroup(
        group=group(*"abc"),
        preferences=preferences_of(Ranking(ranks=(1, 0, 2)), range(3)),
    )
    pairs = [
        (exported["chosen"][0]["content"], exported["rejected"][0]["content"])
        for exported in preference_rows(row)
    ]
    assert sorted(pairs) == [("a", "c"), ("b", "a"), ("b", "c")]


def test_what_a_format_cannot_hold_is_refused():
    asked_by_ids = PreferenceGroup(group=SAMPLED, preferences=(Preference(winner=0, loser=1),))
    with pytest.raises(DataError, match="token ids, which this format cannot hold"):
        preference_rows(asked_by_ids)
    with pytest.raises(DataError, match="token ids"):
        completion_row(SAMPLED.prompt, SAMPLED.responses[0])
    one_pair_of_three = judged("abc", Preference(winner=0, loser=1))
    soft = judged("ab", Preference(winner=0, loser=1, probability=0.9))
    circle = judged("abc", *(Preference(winner=i, loser=(i + 1) % 3) for i in range(3)))
    for row in (one_pair_of_three, soft, circle):
        with pytest.raises(DataError, match="not those of a full ranking"):
            ranking_row(row)
    with pytest.raises(DataError, match=r"rows\.xlsx: cannot write .* Remedy: use \.jsonl"):
        write_rows(Path("rows.xlsx"), [])


@pytest.mark.parametrize("name", FILES)
def test_equal_rows_give_equal_bytes_wherever_and_whenever_they_are_written(tmp_path, name):
    rows = [{"text": f"Gr\u00fc\u00dfe {i}", "n": i, "x": math.pi * i} for i in range(3000)]
    paths = [tmp_path / "one" / name, tmp_path / "another" / name]
    for path in paths:
        write_rows(path, iter(rows))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_bytes_are_utf8_lines_of_json_and_the_zipped_ones_the_same(tmp_path):
    rows = [{"text": "Gr\u00fc\u00dfe \u2028"}, {"text": "b"}]
    write_rows(tmp_path / "rows.jsonl", rows)
    write_rows(tmp_path / "rows.jsonl.gz", rows)
    data = (tmp_path / "rows.jsonl").read_bytes()
    assert data == '{"text": "Gr\u00fc\u00dfe \u2028"}\n{"text": "b"}\n'.encode()
    zipped = (tmp_path / "rows.jsonl.gz").read_bytes()
    assert gzip.decompress(zipped) == data
    assert zipped[4:8] == bytes(4)  # no time in the header
    assert [json.loads(line) for line in data.split(b"\n")[:-1]] == rows


def test_parquet_columns_that_first_appear_late_are_kept(tmp_path):
    rows = [{"n": i} for i in range(2000)] + [{"n": 1, "late": [{"x": 1}]}]
    write_rows(tmp_path / "rows.parquet", rows)
    back = [row for _, row in read_rows(str(tmp_path / "rows.parquet"))]
    assert back[0] == {"n": 0, "late": None}
    assert back[-1] == rows[-1]


@pytest.mark.slow
def test_the_datasets_library_loads_what_is_exported(tmp_path):
    import datasets

    rows = [judged("ab", Preference(winner=1, loser=0, margin=1.0)) for _ in range(3)]
    path = tmp_path / "rows.jsonl.gz"
    write_rows(path, (row for group in rows for row in graded_preference_rows(group)))
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    graded = {"prompt", "chosen", "rejected", "margin", "probability", "prompt_id"}
    assert set(loaded.column_names) == graded
    (chosen,) = loaded[0]["chosen"]
    assert chosen == {"role": "assistant", "content": "b"}
    assert [turn["role"] for turn in loaded[0]["prompt"]] == [m.role for m in PROMPT.messages]
