import json
from pathlib import Path

import pytest

from palate.config.common import PromptConfig
from palate.models.build import train_tokenizer
from palate.models.tokens import Encoder
from palate.records import Group, Response, user_prompt
from palate.stages.sources import admitted, askable, cluster_of
from palate.store.errors import DataError
from palate.store.formats import read_demonstrations, read_prompts, read_unpaired


def group(asked: str, *responses: str) -> Group:
    return Group(prompt=user_prompt(asked), responses=tuple(Response(text=r) for r in responses))


def test_groups_of_one_prompt_share_a_cluster():
    one, two = group("How much is tea?", "2.50", "Two."), group("How much is tea?", "Ask Sam.", "3")
    assert cluster_of(one) == cluster_of(two) != cluster_of(group("And cocoa?", "2.50", "Two."))


def test_groups_without_a_prompt_share_nothing():
    assert cluster_of(group("", "fine film", "dull film")) != cluster_of(group("", "good", "bad"))


def encoder(**choices) -> Encoder:
    tokenizer = train_tokenizer(["How much is tea?"] * 9, vocabulary=280, chat="palate")
    return Encoder(tokenizer, PromptConfig(max_tokens=60, **choices))


def test_a_row_that_is_too_long_is_named_by_file_and_row(tmp_path: Path):
    file = tmp_path / "d.jsonl"
    rows = [{"prompt": "Tea?", "completion": "z" * size} for size in (3, 4, 300, 500)]
    file.write_text("\n\n".join(map(json.dumps, rows)))
    read, strict = list(read_demonstrations(str(file))), encoder()
    tokens = [strict.encode_demonstration(row, train_on="last") for row in read]
    with pytest.raises(DataError, match=r"d\.jsonl, row 5: too long: a response has 30.*Remedy"):
        admitted(read, tokens, strict, max_response_tokens=50, source=str(file))
    skipping = encoder(over_long="skip")
    assert admitted(read, tokens, skipping, max_response_tokens=50, source=str(file)) == [0, 1]


def test_a_prompt_that_is_too_long_is_named_by_file_and_row(tmp_path: Path):
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": p}) for p in ("Tea?", "Tea?", "z" * 90)))
    unique = {prompt.id: prompt for prompt in read_prompts(str(file))}
    with pytest.raises(DataError, match=r"p\.jsonl, row 3: too long: the prompt has"):
        askable([*unique.values()], encoder(), max_tokens=8, source=str(file))


def test_pairs_where_labels_are_wanted_say_which_loss_learns_from_pairs(tmp_path: Path):
    file = tmp_path / "k.jsonl"
    file.write_text(json.dumps({"prompt": "Tea?", "chosen": "2.50", "rejected": "No."}))
    with pytest.raises(DataError, match=r"row 1, field 'chosen': is a pair.*loss = \"sigmoid\""):
        list(read_unpaired(str(file)))
