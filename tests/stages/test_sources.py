import json
from pathlib import Path

import pytest

from palate.records import Group, Response, user_prompt
from palate.stages.sources import cluster_of
from palate.store.errors import DataError
from palate.store.formats import read_unpaired


def group(asked: str, *responses: str) -> Group:
    return Group(prompt=user_prompt(asked), responses=tuple(Response(text=r) for r in responses))


def test_groups_of_one_prompt_share_a_cluster():
    one, two = group("How much is tea?", "2.50", "Two."), group("How much is tea?", "Ask Sam.", "3")
    assert cluster_of(one) == cluster_of(two) != cluster_of(group("And cocoa?", "2.50", "Two."))


def test_groups_without_a_prompt_share_nothing():
    assert cluster_of(group("", "fine film", "dull film")) != cluster_of(group("", "good", "bad"))


def test_pairs_where_labels_are_wanted_say_which_loss_learns_from_pairs(tmp_path: Path):
    file = tmp_path / "k.jsonl"
    file.write_text(json.dumps({"prompt": "Tea?", "chosen": "2.50", "rejected": "No."}))
    with pytest.raises(DataError, match=r"row 1, field 'chosen': is a pair.*loss = \"sigmoid\""):
        list(read_unpaired(str(file)))
