"""Public data as it is: what the readers keep, what they refuse and why."""

import gzip
import json
import os
from pathlib import Path

import pytest

from palate.records import Preference, PreferenceGroup
from palate.store.errors import Skipped
from palate.store.formats import (
    preference_rows,
    read_demonstrations,
    read_preferences,
    read_prompts,
    read_unpaired,
    record_row,
    split_by_prompt,
    write_rows,
)

CHECKOUT = Path(__file__).parents[2]


def data(name: str) -> Path:
    folder = Path(os.environ.get("PALATE_DATA", CHECKOUT.parent / "shared" / "data"))
    path = folder / name
    if not path.is_file():
        pytest.skip(f"PUBLIC DATA ABSENT: no {path}; set PALATE_DATA to its folder")
    return path


def rows_of(path: Path) -> list[dict[str, object]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


HH = "hh_harmless/pairs.jsonl.gz"


def test_hh_harmless_is_read_but_for_the_rows_that_its_makers_marked_unclean():
    path = data(HH)
    rows = rows_of(path)
    skipped = Skipped(keep=len(rows))
    groups = list(read_preferences(str(path), bad_rows=skipped))
    refused = {error.row for error in skipped.first}
    assert (len(rows), len(refused)) == (1604, 9)
    assert refused <= {number for number, row in enumerate(rows, 1) if not row["clean"]}
    kept = [row for number, row in enumerate(rows, 1) if number not in refused]
    for group, row in zip(groups, kept, strict=True):
        assert [message.model_dump() for message in group.group.prompt.messages] == row["prompt"]
        texts = [response.text for response in group.group.responses]
        assert texts == [row["chosen"][0]["content"], row["rejected"][0]["content"]]
        assert group.preferences == (Preference(winner=0, loser=1),)


def test_hh_text_pairs_give_the_same_groups_as_the_messages_made_from_them(tmp_path):
    rows = [row for row in rows_of(data(HH)) if row["clean"]]
    texts = [{"chosen": row["chosen_raw"], "rejected": row["rejected_raw"]} for row in rows]
    messages = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
    write_rows(tmp_path / "texts.jsonl", texts)
    write_rows(tmp_path / "messages.jsonl", messages)
    from_texts = read_preferences(str(tmp_path / "texts.jsonl"))
    for one, other in zip(
        from_texts, read_preferences(str(tmp_path / "messages.jsonl")), strict=True
    ):
        assert stripped(one) == stripped(other)


def stripped(group: PreferenceGroup) -> list[str]:
    prompt = group.group.prompt.messages
    texts = [message.content for message in prompt] + [r.text for r in group.group.responses]
    return [message.role for message in prompt] + [text.strip() for text in texts]


def test_hh_text_is_rebuilt_byte_by_byte_from_its_messages(tmp_path):
    rows = [row for row in rows_of(data(HH)) if row["clean"]]
    write_rows(
        tmp_path / "texts.jsonl",
        ({"chosen": row["chosen_raw"], "rejected": row["rejected_raw"]} for row in rows),
    )
    names = {"user": "Human", "assistant": "Assistant"}
    groups = read_preferences(str(tmp_path / "texts.jsonl"))
    for group, row in zip(groups, rows, strict=True):
        prompt = "".join(f"\n\n{names[m.role]}: {m.content}" for m in group.group.prompt.messages)
        chosen, rejected = (r.text for r in group.group.responses)
        assert f"{prompt}\n\nAssistant: {chosen}" == row["chosen_raw"]
        assert f"{prompt}\n\nAssistant: {rejected}" == row["rejected_raw"]


def test_llamafactory_pairs_and_labels_are_read_without_loss():
    path = data("llamafactory_demos/dpo_pairs.jsonl.gz")
    groups = list(read_preferences(str(path)))
    assert len(groups) == 300
    for group, row in zip(groups, rows_of(path), strict=True):
        (exported,) = preference_rows(group)
        assert exported["prompt"] == row["prompt"]
        assert exported["chosen"][0]["content"] == row["chosen"]
        assert exported["rejected"][0]["content"] == row["rejected"]
    path = data("llamafactory_demos/kto_unpaired.jsonl.gz")
    labels = [row["label"] for row in rows_of(path)]
    assert [unpaired.desirable for unpaired in read_unpaired(str(path))] == labels
    assert 0 < sum(labels) < 300


def test_self_instruct_tasks_are_demonstrations_in_alpacas_format(tmp_path):
    rows = [
        {"instruction": task["instruction"]} | instance
        for task in rows_of(data("self_instruct/tasks.jsonl.gz"))
        for instance in task["instances"]
    ]
    write_rows(tmp_path / "alpaca.jsonl", rows)
    demonstrations = list(read_demonstrations(str(tmp_path / "alpaca.jsonl")))
    assert len(demonstrations) == len(rows) > 300
    for demonstration, row in zip(demonstrations, rows, strict=True):
        assert demonstration.response == row["output"]
        asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        assert demonstration.prompt.text == asked


def test_verifiable_problems_keep_their_answers():
    path = data("gsm8k/dev_from_test.jsonl.gz")
    prompts = list(read_prompts(str(path)))
    assert len(prompts) == 520
    for prompt, row in zip(prompts, rows_of(path), strict=True):
        assert (prompt.text, prompt.reference) == (row["question"], row["answer"])


@pytest.mark.slow
def test_real_preferences_survive_every_export_and_land_whole_on_one_side(tmp_path):
    groups = list(read_preferences(str(data(HH)), bad_rows=Skipped()))
    for name in ("own.jsonl.gz", "own.parquet"):
        write_rows(tmp_path / name, map(record_row, groups))
        assert list(read_preferences(str(tmp_path / name))) == groups
    write_rows(tmp_path / "trl.jsonl", (row for group in groups for row in preference_rows(group)))
    assert list(read_preferences(str(tmp_path / "trl.jsonl"))) == groups
    sides: dict[str, set[bool]] = {}
    for group in groups:
        id = group.group.prompt.id
        sides.setdefault(id, set()).add(split_by_prompt(id, fraction=0.2, seed=0))
    assert all(len(side) == 1 for side in sides.values())
    assert 0.15 < sum(True in side for side in sides.values()) / len(sides) < 0.25
