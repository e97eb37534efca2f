"""Every format that trainers and datasets use becomes the same records."""

import json
from pathlib import Path

import pytest

from palate.records import (
    Demonstration,
    Group,
    Message,
    Preference,
    PreferenceGroup,
    Prompt,
    PromptId,
    Response,
    Sampling,
    user_prompt,
)
from palate.store.formats import (
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_unpaired,
    split_by_prompt,
)


def written(tmp_path: Path, *rows: dict[str, object]) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def gpt(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}


ASKED = [say("user", "Hi"), say("assistant", "Hello."), say("user", "Oat milk?")]
PROMPT = Prompt(messages=tuple(Message.model_validate(turn) for turn in ASKED))
SYSTEM = Message(role="system", content="Be brief.")

PROMPTS = {
    "text": ({"prompt": "Oat milk?"}, user_prompt("Oat milk?")),
    "messages in prompt": ({"prompt": ASKED}, PROMPT),
    "messages": ({"messages": ASKED}, PROMPT),
    "token ids": ({"prompt_ids": [5, 0, 7]}, Prompt(token_ids=(5, 0, 7))),
    "question": ({"question": "1 + 1?", "answer": "2"}, user_prompt("1 + 1?", reference="2")),
    "problem": ({"problem": "1 + 1?", "answer": "2"}, user_prompt("1 + 1?", reference="2")),
    "number": ({"prompt": "1 + 1?", "answer": 2}, user_prompt("1 + 1?", reference="2")),
    "reference": (
        {"prompt": "1 + 1?", "reference": "2", "answer": "two", "tag": "sums"},
        user_prompt("1 + 1?", reference="2", tag="sums"),
    ),
    "alpaca": ({"instruction": "Add.", "input": "1, 1"}, user_prompt("Add.\n1, 1")),
    "nulls": ({"prompt": None, "question": "Hi", "tag": None}, user_prompt("Hi")),
    "line of text": ({"text": "Oat milk?"}, user_prompt("Oat milk?")),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_read_from(tmp_path, name):
    row, prompt = PROMPTS[name]
    assert list(read_prompts(written(tmp_path, row))) == [prompt]


ANSWERED = Demonstration(messages=(*PROMPT.messages, Message(role="assistant", content=" Yes.")))
SHORT = Demonstration(messages=(*user_prompt("Hi").messages, *ANSWERED.messages[-1:]))

DEMONSTRATIONS = {
    "messages": ({"messages": [*ASKED, say("assistant", " Yes.")]}, ANSWERED),
    "prompt and completion": ({"prompt": "Hi", "completion": " Yes."}, SHORT),
    "prompt and response": ({"prompt": "Hi", "response": " Yes."}, SHORT),
    "conversational": ({"prompt": ASKED, "completion": [say("assistant", " Yes.")]}, ANSWERED),
    "alpaca": (
        {"instruction": "Hi", "input": "", "output": " Yes.", "system": "Be brief."},
        SHORT.model_copy(update={"messages": (SYSTEM, *SHORT.messages)}),
    ),
    "question and answer": ({"question": "Hi", "answer": " Yes."}, SHORT),
    "sharegpt": (
        {
            "conversations": [
                gpt("system", "Be brief."),
                gpt("human", "Hi"),
                gpt("gpt", "Hello."),
                gpt("human", "Oat milk?"),
                gpt("gpt", " Yes."),
            ]
        },
        ANSWERED.model_copy(update={"messages": (SYSTEM, *ANSWERED.messages)}),
    ),
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_demonstrations_are_read_from(tmp_path, name):
    row, demonstration = DEMONSTRATIONS[name]
    assert list(read_demonstrations(written(tmp_path, row))) == [demonstration]


def pair(
    prompt: Prompt, *, probability: float = 1.0, margin: float = 0.0, tag: str = ""
) -> PreferenceGroup:
    prompt = prompt.model_copy(update={"tag": tag})
    return PreferenceGroup(
        group=Group(prompt=prompt, responses=(Response(text="Yes."), Response(text="No."))),
        preferences=(Preference(winner=0, loser=1, probability=probability, margin=margin),),
    )


YES, NO = say("assistant", "Yes."), say("assistant", "No.")
TEXT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Oat milk?\n\nAssistant: "
SIDES = {"chosen": "Yes.", "rejected": "No."}
TURNS = {"chosen": [YES], "rejected": [NO]}
WHOLE = {"chosen": [*ASKED, YES], "rejected": [*ASKED, NO]}

PREFERENCES = {
    "TRL explicit text": ({"prompt": "Hi"} | SIDES, pair(user_prompt("Hi"))),
    "TRL explicit messages": ({"prompt": ASKED} | TURNS, pair(PROMPT)),
    "TRL mixed": ({"prompt": ASKED} | SIDES, pair(PROMPT)),
    "TRL implicit": (WHOLE, pair(PROMPT)),
    "UltraFeedback": (WHOLE | {"prompt": "Oat milk?", "score_chosen": 9.0}, pair(PROMPT)),
    "both sides repeat the prompt": (WHOLE | {"prompt": ASKED}, pair(PROMPT)),
    "HH-RLHF": ({"chosen": TEXT + "Yes.", "rejected": TEXT + "No."}, pair(PROMPT)),
    "alpaca": ({"instruction": "Add.", "input": "1, 1"} | SIDES, pair(user_prompt("Add.\n1, 1"))),
    "sharegpt": (
        {
            "conversations": [gpt("human", "Hi"), gpt("gpt", "Hello."), gpt("human", "Oat milk?")],
            "chosen": gpt("gpt", "Yes."),
            "rejected": gpt("gpt", "No."),
        },
        pair(PROMPT),
    ),
    "margin": (WHOLE | {"margin": 1.5, "tag": "milk"}, pair(PROMPT, margin=1.5, tag="milk")),
    "soft label": (WHOLE | {"probability": 0.25}, pair(PROMPT, probability=0.25)),
    "tie": (WHOLE | {"probability": 0.5}, pair(PROMPT, probability=0.5)),
    "nulls": (WHOLE | {"prompt": None, "margin": None, "probability": None}, pair(PROMPT)),
    "other columns": (WHOLE | {"id": 7, "chosen_raw": TEXT, "clean": True}, pair(PROMPT)),
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_are_read_from(tmp_path, name):
    row, group = PREFERENCES[name]
    assert list(read_preferences(written(tmp_path, row))) == [group]


def test_a_table_has_numbers_as_text_and_empty_cells(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected,margin\nHi,Yes.,No.,0.5\nHi,Yes.,No.,\n")
    groups = list(read_preferences(str(path)))
    assert groups == [pair(user_prompt("Hi"), margin=0.5), pair(user_prompt("Hi"))]


def test_a_ranking_becomes_all_its_pairs_and_equal_ranks_a_tie(tmp_path):
    texts = ["B", "D", "A", "C"]
    row = {
        "context": ASKED,
        "completions": [
            {"rank": rank, "completion": [say("assistant", text)]}
            for rank, text in zip([1, 0, 1, 2], texts, strict=True)
        ],
    }
    (group,) = read_preferences(written(tmp_path, row))
    assert group.group.prompt == PROMPT
    assert [response.text for response in group.group.responses] == texts
    said = {(texts[p.winner], texts[p.loser], p.probability) for p in group.preferences}
    assert said == {
        ("D", "B", 1.0),
        ("D", "A", 1.0),
        ("D", "C", 1.0),
        ("B", "A", 0.5),
        ("B", "C", 1.0),
        ("A", "C", 1.0),
    }


@pytest.mark.parametrize("label", [True, "True", 1, "1"])
def test_unpaired_responses_are_read_with_their_label(tmp_path, label):
    rows = (
        {"prompt": "Hi", "completion": "Yes.", "label": label},
        {"messages": [*ASKED, NO], "label": False},
    )
    good, bad = read_unpaired(written(tmp_path, *rows))
    assert (good.prompt, good.response.text, good.desirable) == (user_prompt("Hi"), "Yes.", True)
    assert (bad.prompt, bad.response.text, bad.desirable) == (PROMPT, "No.", False)


def test_groups_are_read_from_texts_or_from_their_own_format(tmp_path):
    own = Group(
        prompt=Prompt(token_ids=(1, 2), reference="3", tag="t"),
        responses=(
            Response(text="", token_ids=(0,), policy="sft", sampling=Sampling(temperature=0.7)),
            Response(text="x", finish="length"),
        ),
    )
    rows = (
        {"prompt": "Hi", "responses": ["Yes.", "No."]},
        {"prompt_ids": [1, 2], "responses": ["Yes."]},
        own.model_dump(mode="json"),
    )
    assert list(read_groups(written(tmp_path, *rows))) == [
        Group(prompt=user_prompt("Hi"), responses=(Response(text="Yes."), Response(text="No."))),
        Group(prompt=Prompt(token_ids=(1, 2)), responses=(Response(text="Yes."),)),
        own,
    ]


def test_the_split_depends_on_prompt_and_seed_alone_and_has_the_asked_size():
    ids = [PromptId(f"{i:016x}") for i in range(20_000)]
    held = {id for id in ids if split_by_prompt(id, fraction=0.2, seed=1)}
    assert abs(len(held) / len(ids) - 0.2) < 4 * (0.2 * 0.8 / len(ids)) ** 0.5
    smaller = {id for id in ids if split_by_prompt(id, fraction=0.1, seed=1)}
    assert smaller < held
    other = {id for id in ids if split_by_prompt(id, fraction=0.2, seed=2)}
    assert abs(len(held & other) / len(held) - 0.2) < 0.03
    assert not any(split_by_prompt(id, fraction=0.0, seed=1) for id in ids)
    assert all(split_by_prompt(id, fraction=1.0, seed=1) for id in ids)
