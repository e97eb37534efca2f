"""What rows hold beside prompts and responses: used, refused by name, or named as not read."""

import json
from pathlib import Path

import pytest

from palate.records import (
    Demonstration,
    Group,
    JudgedGroup,
    Message,
    PreferenceGroup,
    Prompt,
    user_prompt,
)
from palate.store.errors import DataError
from palate.store.formats import (
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_unpaired,
    record_row,
    unread_fields,
    write_rows,
)

TEA = [{"role": "user", "content": "Any tea?"}]
YES = [{"role": "assistant", "content": "Yes."}]
NO = [{"role": "assistant", "content": "No."}]
HH = "\n\nHuman: Any tea?\n\nAssistant:"


def written(folder: Path, *rows: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


READERS = {
    "prompt": (read_prompts, {"prompt": "Any tea?"}),
    "prompt of turns": (read_prompts, {"prompt": TEA}),
    "conversation that asks": (read_prompts, {"messages": TEA}),
    "question": (read_prompts, {"question": "Any tea?"}),
    "problem": (read_prompts, {"problem": "Any tea?"}),
    "instruction": (read_prompts, {"instruction": "Any tea?"}),
    "line": (read_prompts, {"text": "Any tea?"}),
    "completion": (read_demonstrations, {"prompt": "Any tea?", "completion": "Yes."}),
    "response": (read_demonstrations, {"prompt": "Any tea?", "response": "Yes."}),
    "answer": (read_demonstrations, {"question": "Any tea?", "answer": "Yes."}),
    "Orca": (read_demonstrations, {"question": "Any tea?", "response": "Yes."}),
    "Alpaca": (read_demonstrations, {"instruction": "Any tea?", "output": "Yes."}),
    "conversation": (read_demonstrations, {"messages": TEA + YES}),
    "ShareGPT": (
        read_demonstrations,
        {"conversations": [{"from": "human", "value": "Any tea?"}, {"from": "gpt", "value": "."}]},
    ),
    "pair": (read_preferences, {"prompt": "Any tea?", "chosen": "Yes.", "rejected": "No."}),
    "pair of turns": (read_preferences, {"prompt": TEA, "chosen": YES, "rejected": NO}),
    "whole pair": (read_preferences, {"chosen": TEA + YES, "rejected": TEA + NO}),
    "prompt and whole pair": (
        read_preferences,
        {"prompt": "Any tea?", "chosen": TEA + YES, "rejected": TEA + NO},
    ),
    "HH": (read_preferences, {"chosen": HH + " Yes.", "rejected": HH + " No."}),
    "HH with its prompt": (
        read_preferences,
        {"prompt": HH, "chosen": HH + " Yes.", "rejected": HH + " No."},
    ),
    "Orca's pair": (
        read_preferences,
        {"question": "Any tea?", "chosen": "Yes.", "rejected": "No."},
    ),
    "Alpaca's pair": (
        read_preferences,
        {"instruction": "Any tea?", "chosen": "Yes.", "rejected": "No."},
    ),
    "ranking": (
        read_preferences,
        {"context": "Any tea?", "completions": [
            {"rank": 0, "completion": "Yes."}, {"rank": 1, "completion": "No."},
        ]},
    ),
    "labelled": (
        read_unpaired,
        {"prompt": "Any tea?", "completion": "Yes.", "label": True},
    ),
    "labelled turns": (read_unpaired, {"messages": TEA + YES, "label": False}),
    "group": (read_groups, {"prompt": "Any tea?", "responses": ["Yes.", "No."]}),
}  # fmt: skip


def turns(record) -> tuple[Message, ...]:
    record = record.group if isinstance(record, PreferenceGroup) else record
    return record.messages if hasattr(record, "messages") else record.prompt.messages


@pytest.mark.parametrize("column", ["system", "system_prompt"])
@pytest.mark.parametrize("format", READERS)
def test_a_system_column_is_the_first_turn_in_every_format(tmp_path: Path, format: str, column):
    read, row = READERS[format]
    (plain,) = read(written(tmp_path, row))
    (record,) = read(written(tmp_path, row | {column: "Be brief."}))
    system = Message(role="system", content="Be brief.")
    assert turns(record) == (system, *turns(plain))
    assert [turn.role for turn in turns(plain)][:1] == ["user"]


def test_a_system_column_beside_another_system_turn_is_refused_and_an_equal_one_is_not(
    tmp_path: Path,
):
    row = {"prompt": [{"role": "system", "content": "Be brief."}, *TEA]}
    (same,) = read_prompts(written(tmp_path, row | {"system": "Be brief."}))
    assert [turn.role for turn in same.messages] == ["system", "user"]
    with pytest.raises(DataError, match="row 1, field 'system': the row has another system turn"):
        list(read_prompts(written(tmp_path, row | {"system": "Be long."})))
    with pytest.raises(DataError, match="field 'system'"):
        list(read_prompts(written(tmp_path, {"prompt_ids": [1], "system": "Be brief."})))


CALL = [{"type": "function", "function": {"name": "menu", "arguments": {"kind": "tea"}}}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_calls", CALL),
        ("function_call", {"name": "menu"}),
        ("reasoning_content", "two and two"),
        ("reasoning", "two and two"),
        ("thinking", "two and two"),
        ("weight", 0),
        ("weight", "0"),
        ("train", False),
    ],
)
def test_what_a_turn_holds_beside_its_text_is_refused_by_name(tmp_path: Path, field, value):
    row = {"messages": [*TEA, YES[0] | {field: value}]}
    place = rf"row 1, field 'messages\[1\]\.{field}': .*Remedy: \w+"
    with pytest.raises(DataError, match=place):
        list(read_demonstrations(written(tmp_path, row)))
    with pytest.raises(DataError, match=rf"chosen\[1\]\.{field}"):
        list(read_preferences(written(tmp_path, {"chosen": row["messages"], "rejected": TEA + NO})))


@pytest.mark.parametrize("field", ["tools", "functions", "images", "chat_template_kwargs"])
def test_what_a_row_holds_beside_its_turns_is_refused_by_name(tmp_path: Path, field: str):
    row = {"messages": TEA + YES, field: [{"name": "menu"}]}
    for read in (read_demonstrations, read_prompts):
        with pytest.raises(DataError, match=f"row 1, field '{field}': is content"):
            list(read(written(tmp_path, row)))


def test_empty_fields_of_tables_are_no_content(tmp_path: Path):
    turn = YES[0] | {"tool_calls": None, "reasoning_content": "", "weight": 1, "train": True}
    row = {"messages": [*TEA, turn], "tools": [], "images": None}
    assert list(read_demonstrations(written(tmp_path, row | {"tools": "[]"})))
    assert list(read_demonstrations(written(tmp_path, row)))


@pytest.mark.parametrize(("label", "desirable"), [(1.0, True), (0.0, False)])
def test_labels_may_be_the_numbers_that_tables_make_of_them(tmp_path: Path, label, desirable):
    row = {"prompt": "Any tea?", "completion": "Yes.", "label": label}
    (record,) = read_unpaired(written(tmp_path, row))
    assert record.desirable is desirable


def test_the_prompt_of_a_long_pair_may_be_its_first_question(tmp_path: Path):
    begun = [*TEA, *YES, {"role": "user", "content": "Which?"}]
    row = {"chosen": begun + YES, "rejected": begun + NO}
    for prompt in ("Any tea?", "Which?"):
        (group,) = read_preferences(written(tmp_path, row | {"prompt": prompt}))
        assert len(group.group.prompt.messages) == 3
    with pytest.raises(DataError, match="is not the prompt"):
        list(read_preferences(written(tmp_path, row | {"prompt": "Why?"})))


def test_the_turns_that_pairs_share_are_counted(tmp_path: Path):
    row = {"chosen": TEA + YES, "rejected": TEA + YES + TEA + NO}
    with pytest.raises(DataError, match="has 4 turns and shares the first 2 with chosen, which"):
        list(read_preferences(written(tmp_path, row)))


def test_fields_that_nothing_reads_are_named(tmp_path: Path):
    row = {"prompt": "Any tea?", "chosen": "Yes.", "rejected": "No.", "sytem": "Hm.", "id": 7}
    source = written(tmp_path, row | {"system": "Be brief.", "margin": 1, "empty": None})
    assert unread_fields(PreferenceGroup, source) == ["sytem", "id"]
    assert unread_fields(JudgedGroup, source) == ["sytem", "id"]
    assert unread_fields(Group, written(tmp_path, {"prompt": "a", "responses": ["b"]})) == []
    assert unread_fields(Demonstration, "org/name") == []


@pytest.mark.parametrize(
    "prompt",
    [
        user_prompt("Any tea?", reference="yes", tag="menu"),
        user_prompt("Any tea?").model_copy(update={"extra": '{"level": 3}'}),
        Prompt(token_ids=(4, 5), reference="yes"),
    ],
    ids=["plain", "further fields", "token ids"],
)
def test_prompts_that_a_stage_wrote_come_back_as_they_were(tmp_path: Path, prompt: Prompt):
    file = tmp_path / "prompts.jsonl"
    write_rows(file, [record_row(prompt)])
    assert list(read_prompts(str(file))) == [prompt]
