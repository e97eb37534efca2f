"""Rows become tokens at the start of a stage, or it says why not, in which row, and what is odd."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from palate.config.common import PromptConfig
from palate.models.build import train_tokenizer
from palate.models.tokens import Encoder
from palate.records import Demonstration, Message, Prompt, user_prompt
from palate.stages.context import StageContext
from palate.stages.encoding import asked, demonstrated, encoded, labelled, oddities, preferred
from palate.store.errors import DataError, Skipped
from palate.store.formats import (
    read_demonstrations,
    read_preferences,
    read_prompts,
    read_unpaired,
)
from palate.store.runs import StageDir

TURNS = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
END = "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
OPEN = "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
THOUGHT = OPEN.replace("<assistant>", "<assistant><think>\\n")
EMPTY_THOUGHT = (
    "{% if m.role == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content }}"
)
THINKING = TURNS.replace(" + m.content", "").replace("}}", "}}" + EMPTY_THOUGHT, 1)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"


def encoder(template: str = "", **choices) -> Encoder:
    tokenizer = train_tokenizer(["How much is tea?"] * 9, vocabulary=280, chat="palate")
    if template:
        tokenizer.chat_template = template
    return Encoder(tokenizer, PromptConfig(max_tokens=60, **choices))


def context(folder: Path, **choices) -> StageContext:
    return StageContext(
        name="sft",
        folder=StageDir(folder),
        seed=0,
        monitor=None,
        artifacts={},
        store_url="",
        project="",
        **choices,
    )


def file(folder: Path, *rows: object) -> str:
    path = folder / "d.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    return str(path)


def demonstration(*turns: tuple[str, str]) -> Demonstration:
    return Demonstration(messages=tuple(Message(role=r, content=c) for r, c in turns))


def complaints(rows, encode, encoder: Encoder) -> list[tuple[str, bool]]:
    tokens = [encode(encoder, row) for row in rows]
    return [(oddity.text, oddity.serious) for oddity in oddities(rows, tokens, encoder)]


def test_a_row_that_is_too_long_is_named_by_file_and_row_or_left_out_and_counted(tmp_path: Path):
    source = file(tmp_path, *({"prompt": "Tea?", "completion": "z" * n} for n in (3, 4, 300, 500)))
    read = list(read_demonstrations(source))
    counts: list[int] = []
    here = replace(context(tmp_path), left_out=counts.append)

    def result(encoder: Encoder):
        return encoded(
            here, read, demonstrated("last"), encoder,
            max_response_tokens=50, source=source,
        )  # fmt: skip

    with pytest.raises(DataError, match=r"d\.jsonl, row 5: too long: a response has 30.*Remedy"):
        result(encoder())
    short = result(encoder(over_long="skip"))
    assert short.rows == read[:2]
    assert [len(group.responses[0]) for group in short.tokens] == [4, 5]
    assert counts == [2]


def test_a_prompt_that_is_too_long_is_named_by_file_and_row(tmp_path: Path):
    source = file(tmp_path, *({"prompt": p} for p in ("Tea?", "Tea?", "z" * 90)))
    unique = {prompt.id: prompt for prompt in read_prompts(source)}
    with pytest.raises(DataError, match=r"d\.jsonl, row 5: too long: the prompt has"):
        encoded(
            context(tmp_path), [*unique.values()], asked, encoder(),
            max_response_tokens=8, source=source,
        )  # fmt: skip


def test_a_turn_that_the_template_refuses_is_a_bad_row(tmp_path: Path):
    bad = {"system": "Be brief.", "messages": [
        {"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "2.50."},
    ]}  # fmt: skip
    source = file(tmp_path, {"prompt": "Tea?", "completion": "Yes."}, bad, bad)
    rows, strict = list(read_demonstrations(source)), encoder(STRICT + TURNS + END + OPEN)

    def result(context: StageContext):
        return encoded(
            context, rows, demonstrated("last"), strict, max_response_tokens=50, source=source
        )

    reason = r"d\.jsonl, row 3: the chat template refuses the turns .*: no system turns\. Remedy"
    with pytest.raises(DataError, match=reason):
        result(context(tmp_path))
    skipped = Skipped()
    assert result(context(tmp_path, bad_rows=skipped)).rows == rows[:1]
    assert skipped.count == 2
    with pytest.raises(DataError, match="no rows that fit"):
        encoded(
            context(tmp_path, bad_rows=Skipped()), rows[1:], demonstrated("last"), strict,
            max_response_tokens=50, source=source,
        )  # fmt: skip


def test_pairs_whose_tokens_are_equal_teach_nothing(tmp_path: Path):
    trimming = encoder((TURNS + END + OPEN).replace("m.content", "(m.content | trim)"))
    pair = {"prompt": "Code?", "chosen": "    return 1", "rejected": "return 1"}
    (row,) = read_preferences(file(tmp_path, pair))
    with pytest.raises(DataError, match=r"row 1: responses 1 and 2 differ only .* are equal"):
        encoded(
            context(tmp_path), [row], preferred, trimming,
            max_response_tokens=50, source=str(tmp_path / "d.jsonl"),
        )  # fmt: skip
    assert preferred(encoder(), row).k == 2
    (tie,) = read_preferences(file(tmp_path, pair | {"probability": 0.5}))
    assert preferred(trimming, tie).k == 2


def test_what_is_odd_is_said(tmp_path: Path):
    said: list[str] = []
    rows = [demonstration(("user", "Tea?"), ("assistant", "2.50."))]
    opened = encoder(TURNS + END + THOUGHT)
    encoded(
        context(tmp_path, say=said.append), rows, demonstrated("last"), opened,
        max_response_tokens=50, source="",
    )  # fmt: skip
    (text,) = said
    assert "opens a thought ('<think>\\n'): 1 of 1 response do not close it with </think>" in text
    assert "Remedy: write the thought" in text


def test_answers_inside_an_open_thought_are_told_from_those_that_close_it():
    rows = [
        demonstration(("user", "Tea?"), ("assistant", "<think>\nhm</think>2.50.")),
        demonstration(("user", "Tea?"), ("assistant", "hm</think>2.50.")),
    ]
    opened = encoder(TURNS + END + THOUGHT)
    assert complaints(rows, demonstrated("last"), opened) == []
    rows.append(demonstration(("user", "Tea?"), ("assistant", "2.50.")))
    ((text, serious),) = complaints(rows, demonstrated("last"), opened)
    assert "1 of 3 responses do not close it" in text
    assert serious


@pytest.mark.parametrize(("opening", "serious"), [(OPEN, False), (THOUGHT, True)])
def test_an_empty_thought_that_the_template_writes_is_said(opening: str, serious: bool):
    thinking = encoder(THINKING + END + opening)
    rows = [demonstration(("user", "Tea?"), ("assistant", "2.50."))]
    ((text, is_serious),) = complaints(rows, demonstrated("last"), thinking)
    assert "1 of 1 response hold no thought, and the chat template writes an empty one" in text
    assert is_serious is serious


def test_another_header_than_the_generation_prompts_is_said():
    other = encoder(
        TURNS.replace("m.role +", "('model' if m.role == 'assistant' else m.role) +") + END + OPEN
    )
    rows = [demonstration(("user", "Tea?"), ("assistant", "2.50."))]
    ((text, serious),) = complaints(rows, demonstrated("last"), other)
    assert text.startswith("the chat template renders finished turns differently")
    assert not serious


def test_text_that_the_template_strips_from_answers_is_said():
    strips = encoder((TURNS + END + OPEN).replace("m.content", "m.content.split('</think>')[-1]"))
    rows = [demonstration(("user", "Tea?"), ("assistant", "<think>hm</think>2.50."))]
    ((text, _),) = complaints(rows, demonstrated("last"), strips)
    assert text.startswith("1 of 1 response lose text in the chat template")


@pytest.mark.parametrize("left_out", ["system", "user"])
def test_turns_that_the_template_leaves_out_are_said(left_out: str):
    heard = f"('' if m.role == '{left_out}' else m.content)"
    deaf = encoder(TURNS.replace("m.content", heard) + END + OPEN)
    row = Prompt(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Tea?"))
    )
    ((text, serious),) = complaints([row], asked, deaf)
    assert text.startswith(f"the chat template leaves out 1 {left_out} turn")
    assert serious


def test_dialogues_and_lists_written_as_text_are_said_and_prose_is_not(tmp_path: Path):
    hh = {"prompt": "\n\nHuman: Any tea?\n\nAssistant:", "completion": " Yes.", "label": True}
    quoted = {"prompt": '["Any tea?"]', "completion": "Yes.", "label": True}
    prose = {"prompt": "Is [1, 2] a list? Human: no", "completion": "Yes.", "label": True}
    rows = list(read_unpaired(file(tmp_path, hh, quoted, prose)))
    assert complaints(rows[2:], labelled, encoder()) == []
    found = complaints(rows, labelled, encoder())
    assert [serious for _, serious in found] == [True, False]
    assert "1 of 3 user turns hold a whole dialogue with the markers of HH-RLHF" in found[0][0]
    assert "1 of 3 user turns are JSON lists written as text" in found[1][0]
    (only,) = complaints(rows, labelled, encoder(format="raw"))
    assert "JSON lists" in only[0]


def test_responses_that_repeat_their_prompt_are_said():
    long = "How much is a pot of green tea?"
    rows = [
        demonstration(("user", long), ("assistant", long + " It is 2.50.")),
        demonstration(("user", "Yes?"), ("assistant", "Yes? Yes.")),
    ]
    ((text, _),) = complaints(rows, demonstrated("last"), encoder())
    assert text.startswith("1 of 2 responses begin with their whole prompt")


def test_ordinary_rows_are_not_odd():
    rows = [demonstration(("system", "Be brief."), ("user", "Tea?"), ("assistant", "2.50."))]
    assert complaints(rows, demonstrated("last"), encoder()) == []
    assert complaints([user_prompt("Tea?")], asked, encoder()) == []
