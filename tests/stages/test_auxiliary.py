"""Preferences that a reward model is trained on beside its own, and is not measured by."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.common import ComputeConfig
from palate.config.stages import ArchitectureConfig, RewardConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.stages import reward, sources
from palate.stages.context import StageContext
from palate.stages.pipeline import input_hashes
from palate.stages.policies import open_scorer
from palate.stages.progress import StageMonitor, Voice
from palate.store.errors import DataError
from palate.store.formats import read_preferences
from palate.store.runs import StageDir

SHARED, ALONE = range(60), range(100, 130)


def pairs(path: Path, numbers: list[int], rejected: str) -> str:
    rows = [
        {"prompt": f"{n} lattes?", "chosen": f"{n} euros.", "rejected": rejected} for n in numbers
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    folder = StageDir(tmp_path / "01-reward")
    return StageContext(
        name="reward",
        folder=folder,
        seed=0,
        monitor=StageMonitor("reward", folder, Voice(Console(quiet=True), tmp_path / "run.log")),
        artifacts={},
        store_url="sqlite://",
        project="r",
    )


def test_a_prompt_that_is_held_out_is_in_no_auxiliary_data(tmp_path, context) -> None:
    data = pairs(tmp_path / "data.jsonl", [*SHARED], "No.")
    more = pairs(tmp_path / "more.jsonl", [*SHARED, *ALONE], "Never.")
    train, held = sources.preferences(context, data, held_out_fraction=0.3)
    kept = sources.auxiliary_preferences(context, more, held=held)
    assert 5 < len(held) < 40
    asked, unseen = ({row.group.prompt.text for row in rows} for rows in (kept, held))
    assert asked == {f"{n} lattes?" for n in (*SHARED, *ALONE)} - unseen
    assert {row.group.prompt.text for row in train} < asked
    assert sources.auxiliary_preferences(context, "", held=held) == []
    with pytest.raises(DataError, match=r"no preferences about prompts that are not held out"):
        sources.auxiliary_preferences(context, data, held=[*train, *held])


def test_a_reward_model_trains_on_both_and_is_centered_and_measured_on_its_own(
    tmp_path, context
) -> None:
    tokenizer = train_tokenizer(
        ["Two lattes are 13 euros. Never!"] * 20, vocabulary=300, chat="palate"
    )
    shape = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(shape, tokenizer, seed=0)
    save_policy(network, tokenizer, tmp_path / "policy", prompt_format="chat")
    config = RewardConfig(
        model=str(tmp_path / "policy"),
        data=pairs(tmp_path / "data.jsonl", [*SHARED], "No."),
        auxiliary_data=pairs(tmp_path / "more.jsonl", [*SHARED, *ALONE], "Never."),
        held_out_fraction=0.3,
        batch_groups=4,
    )
    train, held = sources.preferences(context, config.data, held_out_fraction=0.3)
    summary = reward.run(config, context)
    assert summary["rows"] == 2 * len(train) + len(ALONE)
    assert summary["held_out/pairs"] == len(held)
    compute = ComputeConfig(precision="fp32")
    model = str(context.folder.path / "model")
    scorer = open_scorer(context, model, prompt=config.prompt, compute=compute, policy=None)
    own, other = (
        [score for row in scorer.score([row.group for row in rows]) for score in row]
        for rows in (train, read_preferences(config.auxiliary_data))
    )
    assert sum(own) / len(own) == pytest.approx(0, abs=2e-3)
    assert abs(sum(other) / len(other)) > 0.02


def test_one_prompt_that_is_held_out_gives_no_interval_and_stops_nothing(tmp_path) -> None:
    rows = list(read_preferences(pairs(tmp_path / "data.jsonl", [1, 2], "No.")))
    tie = rows[1].preferences[0].model_copy(update={"probability": 0.5})
    assert reward.measurable(rows)
    assert not reward.measurable([rows[0], rows[0]])
    assert not reward.measurable([rows[0], rows[1].model_copy(update={"preferences": (tie,)})])
    assert not reward.measurable([])


def test_the_quiz_is_data_like_any_other(context) -> None:
    train, held = sources.preferences(context, "cafe:quiz:60", held_out_fraction=0.3)
    assert len(train) + len(held) == 60
    assert 5 < len(held) < 40
    kept = sources.auxiliary_preferences(context, "cafe:quiz:60", held=held)
    assert {row.group.id for row in kept} == {row.group.id for row in train}
    with pytest.raises(DataError, match=r"expected preferences, but this is corpus.*cafe:quiz"):
        sources.preferences(context, "cafe:corpus", held_out_fraction=0.0)


def test_auxiliary_data_is_an_input_of_its_stage(tmp_path: Path) -> None:
    more = pairs(tmp_path / "more.jsonl", [1, 2], "No.")
    before = input_hashes(RewardConfig(auxiliary_data=more), {}, "")
    pairs(tmp_path / "more.jsonl", [1, 3], "No.")
    after = input_hashes(RewardConfig(auxiliary_data=more), {}, "")
    assert before.keys() == after.keys() == {more}
    assert before != after
