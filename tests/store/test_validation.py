"""Bad rows are named by file, row, field, problem and remedy; nothing is guessed or repaired."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palate.records import Record
from palate.store.errors import DataError, Skipped
from palate.store.formats import (
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_unpaired,
)

Reader = Callable[..., Iterator[Record]]
U, A, S, T = ({"role": role, "content": role} for role in ("user", "assistant", "system", "tool"))
YES, NO = ({"role": "assistant", "content": text} for text in ("Yes.", "No."))
EMPTY = {"role": "assistant", "content": " \n"}
PAIR = {"prompt": "Hi", "chosen": "Yes.", "rejected": "No."}


def with_(**changes: object) -> dict[str, object]:
    return PAIR | changes


def ranked(*entries: tuple[object, str]) -> dict[str, object]:
    completions = [{"rank": rank, "completion": text} for rank, text in entries]
    return {"context": "Hi", "completions": completions}


BAD: list[tuple[Reader, dict[str, object], str, str]] = [
    # wrong types
    (read_preferences, with_(chosen=3), "chosen", "expected text or messages, found a number (3)"),
    (read_preferences, with_(prompt={"a": 1}), "prompt", "messages, found an object"),
    (read_prompts, {"prompt": [3]}, "prompt[0]", "expected an object, found a number (3)"),
    (read_prompts, {"prompt": [{"role": "user", "content": None}]}, "prompt[0].content",
     "expected text, found nothing"),
    (read_prompts, {"prompt": [{"role": "user", "content": [{"type": "text"}]}]},
     "prompt[0].content", "expected text, found a list"),
    (read_prompts, {"prompt": [{"content": "x"}]}, "prompt[0].role", "found nothing"),
    (read_prompts, {"prompt": "x", "tag": 3}, "tag", "expected text, found a number (3)"),
    (read_prompts, {"prompt": "x", "reference": ["3"]}, "reference", "expected text, found a list"),
    (read_prompts, {"prompt": "half \ud83d"}, "prompt", "character 6 is half of a surrogate pair"),
    (read_prompts, {"prompt_ids": [1, -1]}, "prompt_ids", "expected token ids"),
    (read_prompts, {"prompt_ids": [1, True]}, "prompt_ids", "expected token ids"),
    (read_prompts, {"prompt_ids": []}, "prompt_ids", "is empty"),
    (read_prompts, {"prompt": "x", "prompt_ids": [1]}, "prompt_ids",
     "the row has both prompt and prompt_ids"),
    (read_unpaired, {"prompt": "x", "completion": "y", "label": "good"}, "label",
     "expected true or false, found text ('good')"),
    # missing fields
    (read_preferences, {"prompt": "Hi", "chosen": "Yes."}, "rejected",
     "is missing; the row has chosen, prompt, and the nearest format is TRL explicit"),
    (read_preferences, with_(rejected=None), "rejected", "is missing; the row has chosen, prompt"),
    (read_demonstrations, {"instruction": "Hi", "answer": "x"}, "output",
     "is missing; the row has answer, instruction, and the nearest format is Alpaca"),
    (read_prompts, {}, "prompt", "is missing; the row has no fields"),
    (read_preferences, {"chosen": "Yes.", "rejected": "No."}, "chosen",
     "the row has no prompt, and the text is no dialogue"),
    # roles
    (read_prompts, {"prompt": [U, U]}, "prompt", "turn 2 is user, but after user comes assistant"),
    (read_prompts, {"prompt": [U, S, U]}, "prompt", "turn 2 is system"),
    (read_prompts, {"prompt": [A, U]}, "prompt", "turn 1 is assistant, but first comes system or"),
    (read_prompts, {"prompt": [U, T]}, "prompt", "turn 2 is tool"),
    (read_prompts, {"prompt": [U, A]}, "prompt", "the prompt ends with assistant, not with a user"),
    (read_prompts, {"prompt": [S]}, "prompt", "the prompt ends with system, not with a user"),
    (read_prompts, {"prompt": [{"role": "human", "content": "x"}]}, "prompt[0].role",
     "unknown role 'human'. Remedy: use one of system, user, assistant, tool"),
    (read_demonstrations, {"conversations": [{"from": "bing", "value": "x"}]},
     "conversations[0].from", "unknown role 'bing'"),
    (read_demonstrations, {"messages": [U, A, U]}, "messages", "the conversation ends with user"),
    (read_demonstrations, {"messages": [U, A, A]}, "messages", "turn 3 is assistant"),
    # responses
    (read_demonstrations, {"prompt": "x", "completion": " "}, "completion", "is empty"),
    (read_demonstrations, {"messages": [U, EMPTY]}, "messages[1].content", "is empty"),
    (read_demonstrations, {"messages": []}, "messages", "is empty"),
    (read_preferences, with_(rejected=""), "rejected", "is empty"),
    (read_preferences, with_(prompt=""), "prompt", "is empty"),
    (read_preferences, with_(chosen=[YES, U, YES]), "chosen",
     "expected one assistant turn, found assistant, user, assistant"),
    (read_preferences, with_(rejected=[U]), "rejected", "expected one assistant turn, found user"),
    (read_preferences, with_(rejected="Yes."), "rejected", "equal to the one it is compared with"),
    (read_preferences, {"chosen": [U, YES], "rejected": [U, YES]}, "rejected", "equal to the one"),
    (read_preferences, {"chosen": [U, YES, U, NO], "rejected": [U, NO, U, NO]}, "rejected",
     "has 4 turns and shares the first 1 with chosen, which has 4"),
    (read_preferences, {"chosen": [U, YES, U, NO], "rejected": [U, NO]}, "rejected",
     "has 2 turns and shares the first 1 with chosen, which has 4"),
    (read_preferences, {"prompt": "Bye", "chosen": [U, YES], "rejected": [U, NO]}, "prompt",
     "is not the prompt that chosen and rejected begin with"),
    (read_preferences, {"chosen": "\n\nHuman: Hi\n\nAssistant:", "rejected": "\n\nHuman: Hi"},
     "chosen[1].content", "is empty"),
    # numbers
    (read_preferences, with_(margin="big"), "margin", "finite number, found text ('big')"),
    (read_preferences, with_(margin=float("nan")), "margin", "finite number, found a number (nan)"),
    (read_preferences, with_(margin=float("inf")), "margin", "finite number, found a number (inf)"),
    (read_preferences, with_(margin=True), "margin", "finite number, found a truth value"),
    (read_preferences, with_(probability=1.5), "probability", "expected 0 to 1, found 1.5"),
    (read_preferences, ranked((0, "a"), (1.5, "b")), "completions[1].rank", "expected a rank"),
    (read_preferences, ranked((0, "a"), (None, "b")), "completions[1].rank", "expected a rank"),
    (read_preferences, ranked((0, "a")), "completions", "needs at least two responses"),
    (read_preferences, ranked((0, "a"), (1, "a")), "completions", "equal to the one"),
    # palate's own format
    (read_groups, {"prompt": {"messages": []}, "responses": ["x"]}, "prompt", "exactly one"),
    (read_groups, {"prompt": "x", "responses": [{"text": "x", "finish": "never"}]},
     "responses[0].finish", "Input should be 'stop' or 'length'"),
    (read_groups, {"prompt": "x", "responses": []}, "responses", "is empty"),
    (read_preferences, {"group": {"prompt": {"messages": [U]}, "responses": [{"text": "x"}]},
     "preferences": [{"winner": 0, "loser": 1}]}, "", "names response"),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "row", "field", "problem"), BAD)
def test_a_bad_row_is_refused_by_place_or_skipped(tmp_path: Path, reader, row, field, problem):
    path = tmp_path / "data.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n")
    with pytest.raises(DataError) as caught:
        list(reader(str(path)))
    error = caught.value
    assert (error.source, error.row, error.field) == (str(path), 2, field)
    assert problem in str(error)
    skipped = Skipped()
    assert list(reader(str(path), bad_rows=skipped)) == []
    assert [str(e) for e in skipped.first] == [str(error)]


def test_good_rows_around_a_bad_one_are_kept_when_bad_ones_are_skipped(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [PAIR, with_(rejected="Yes."), "{", with_(prompt="Bye")]
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    skipped = Skipped()
    groups = list(read_preferences(str(path), bad_rows=skipped))
    assert [group.group.prompt.text for group in groups] == ["Hi", "Bye"]
    assert [(error.row, error.field) for error in skipped.first] == [(2, "rejected"), (3, "")]


def test_an_error_reads_as_one_sentence_with_its_remedy():
    error = DataError(
        "expected text, found a number (3)",
        source="train.jsonl",
        row=17,
        field="chosen",
        remedy="write the response as text",
    )
    assert str(error) == (
        "train.jsonl, row 17, field 'chosen': expected text, found a number (3). "
        "Remedy: write the response as text"
    )
    assert str(DataError("no such file", source="train.jsonl")) == "train.jsonl: no such file"


def test_every_file_missing_is_an_error_when_asked_for_not_when_read(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_prompts(str(tmp_path / "none.jsonl"))
