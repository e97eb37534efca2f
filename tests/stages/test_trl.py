"""Other people's code reads the exports: datasets loads them, and TRL's trainers learn from them.

What TRL makes of a row is compared with what palate's own encoder makes of the same group.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from palate.config.common import PromptConfig
from palate.config.exchange import Format
from palate.models.build import train_tokenizer
from palate.models.tokens import Encoder
from palate.records import Group
from palate.store.database import Store
from tests.exchange.project import export, fill

pytestmark = pytest.mark.slow  # imports datasets and trl, and trains

TOKENIZER = train_tokenizer(["Yes. No, it is not. Question?"] * 20, vocabulary=300, chat="palate")
ENCODER = Encoder(TOKENIZER, PromptConfig(format="chat"))
CONVERSATIONAL: dict[Format, set[str]] = {
    "preference": {"prompt", "chosen", "rejected"},
    "graded": {"prompt", "chosen", "rejected", "margin", "probability", "prompt_id"},
    "unpaired": {"prompt", "completion", "label"},
    "prompt-completion": {"prompt", "completion"},
    "messages": {"messages"},
    "prompt-only": {"prompt"},
}
OTHERS: tuple[Format, ...] = ("hh", "alpaca", "sharegpt", "helpsteer", "judgements", "oasst")


@pytest.fixture
def project(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'palate.db'}"
    fill(address)
    return address


def loaded(project: str, folder: Path, format: Format, suffix: str = "jsonl") -> Any:
    """An export as `datasets` loads it."""
    import datasets

    path = folder / f"{format}.{suffix}"
    export(project, path, format)
    return datasets.load_dataset(
        "json" if suffix == "jsonl" else suffix,
        data_files=str(path),
        split="train",
        cache_dir=str(folder / "cache"),
    )


def network(kind: type = LlamaForCausalLM) -> Any:
    """Two layers of 32, the same weights every time."""
    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        num_labels=1,
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def trained(trainer: type, config: type, data: Any, folder: Path, model: Any, **more: Any) -> Any:
    """A trainer of TRL's after one step on CPU, which changed the weights."""
    settings = config(
        output_dir=str(folder / "trl"),
        max_steps=1,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
    )
    made = trainer(
        model=model, args=settings, train_dataset=data, processing_class=TOKENIZER, **more
    )
    before = {name: weight.clone() for name, weight in made.model.named_parameters()}
    assert torch.isfinite(torch.tensor(made.train().training_loss))
    assert any(not torch.equal(before[name], w) for name, w in made.model.named_parameters())
    return made


def groups(project: str) -> dict[str, Group]:
    """The groups of the project by what is asked."""
    with Store(project) as store:
        return {group.prompt.messages[0].content: group for group in store.groups("mine")}


def ours(project: str, row: dict[str, Any], text: str) -> tuple[list[int], list[int]]:
    """(prompt ids, response ids) as palate encodes the response of a row."""
    group = groups(project)[row["prompt"][0]["content"]]
    (index,) = [i for i, response in enumerate(group.responses) if response.text == text]
    encoded = ENCODER.encode_group(group)
    return list(encoded.prompt), list(encoded.responses[index])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("format", [*CONVERSATIONAL, *OTHERS])
def test_datasets_loads_the_export(
    project: str, tmp_path: Path, format: Format, suffix: str
) -> None:
    from trl.data_utils import is_conversational

    data = loaded(project, tmp_path, format, suffix)
    assert len(data) > 0
    if format in CONVERSATIONAL:
        assert set(data.column_names) == CONVERSATIONAL[format]
        assert is_conversational(data[0])


def test_a_reward_trainer_learns_the_pairs_and_their_margins(project: str, tmp_path: Path) -> None:
    from trl import RewardConfig, RewardTrainer

    data = loaded(project, tmp_path, "graded")
    model = network(LlamaForSequenceClassification)
    done = trained(RewardTrainer, RewardConfig, data, tmp_path, model)
    kept = done.train_dataset
    assert len(kept) == len(data)
    assert len(set(data["margin"])) > 1
    for row, ids in zip(data, kept, strict=True):
        for side in ("chosen", "rejected"):
            prompt, response = ours(project, row, row[side][0]["content"])
            assert ids[f"{side}_ids"][: len(prompt) + len(response)] == prompt + response
    batch = done.data_collator([kept[i] for i in range(len(kept))])
    assert batch["margin"].tolist() == torch.tensor(data["margin"]).tolist()


def test_a_dpo_trainer_learns_the_pairs(project: str, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    data = loaded(project, tmp_path, "preference")
    done = trained(DPOTrainer, DPOConfig, data, tmp_path, network(), ref_model=network())
    assert len(done.train_dataset) == len(data)
    for row, ids in zip(data, done.train_dataset, strict=True):
        for side in ("chosen", "rejected"):
            prompt, response = ours(project, row, row[side][0]["content"])
            assert ids["prompt_ids"] == prompt
            assert ids[f"{side}_ids"][: len(response)] == response


def test_a_kto_trainer_learns_the_labels(project: str, tmp_path: Path) -> None:
    from trl import KTOConfig, KTOTrainer

    data = loaded(project, tmp_path, "unpaired")
    done = trained(KTOTrainer, KTOConfig, data, tmp_path, network(), ref_model=network())
    assert len(done.train_dataset) == len(data)
    assert sorted(done.train_dataset["label"]) == sorted(data["label"])
    assert set(data["label"]) == {True, False}
    for row, ids in zip(data, done.train_dataset, strict=True):
        prompt, response = ours(project, row, row["completion"][0]["content"])
        assert (ids["prompt_ids"], ids["label"]) == (prompt, row["label"])
        assert ids["completion_ids"][: len(response)] == response


@pytest.mark.parametrize("format", ["prompt-completion", "messages"])
def test_an_sft_trainer_learns_the_chosen_responses(
    project: str, tmp_path: Path, format: Format
) -> None:
    from trl import SFTConfig, SFTTrainer

    data = loaded(project, tmp_path, format)
    done = trained(SFTTrainer, SFTConfig, data, tmp_path, network())
    assert len(done.train_dataset) == len(data)
    for row, ids in zip(data, done.train_dataset, strict=True):
        turns = row["messages"] if format == "messages" else [*row["prompt"], *row["completion"]]
        prompt, response = ours(project, {"prompt": turns}, turns[-1]["content"])
        assert ids["input_ids"][: len(prompt) + len(response)] == prompt + response
        learned = ids["labels"][: len(prompt) + len(response)]
        ignored = len(prompt) if format == "prompt-completion" else 0
        assert learned == [-100] * ignored + (prompt + response)[ignored:]
