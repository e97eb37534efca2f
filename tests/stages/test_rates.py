"""Learning rates that the doctor warns of: by stage, by what is trained, and by size."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console
from transformers import LlamaConfig

from palate.config.load import load_recipe, load_stage
from palate.models.build import train_tokenizer
from palate.stages import doctor
from palate.stages.doctor.rates import learning_rate

SMALL, SEVEN = 135_000_000, 7_000_000_000
LORA = "lora.rank=8"


def warned(stage: str, lr: float, parameters: int, *words: str) -> bool:
    own = {"sft": (), "dpo": (), "reward": ()}.get(stage, ("reward=verifier:exact",))
    config = load_stage(stage, None, ["model=m", f"optimizer.lr={lr}", *own, *words])
    return bool(list(learning_rate(config, parameters)))


@pytest.mark.parametrize("words", [(), (LORA,)])
@pytest.mark.parametrize("stage", ["sft", "dpo", "reward", "grpo", "ppo", "rloo", "online_dpo"])
def test_a_thousandth_is_far_too_much_for_a_pretrained_model_and_right_for_a_tiny_one(
    stage: str, words: tuple[str, ...]
) -> None:
    assert warned(stage, 1e-3, SMALL, *words)
    assert not warned(stage, 1e-3, 1_000_000, *words)


@pytest.mark.parametrize(
    ("stage", "lr", "words"),
    [
        ("sft", 2e-5, ()),  # TRL
        ("sft", 3e-4, ()),  # SmolLM2 with 1.7 billion parameters
        ("sft", 2e-4, (LORA,)),  # TRL
        ("reward", 1e-4, ()),  # TRL
        ("dpo", 1e-6, ()),  # TRL, SmolLM2
        ("dpo", 5e-6, (LORA,)),  # TRL
        ("grpo", 1e-6, ()),  # TRL
        ("grpo", 2e-5, (LORA,)),  # this README
    ],
)
def test_what_is_published_is_no_warning(stage: str, lr: float, words: tuple[str, ...]) -> None:
    assert not warned(stage, lr, 1_700_000_000, *words)


def test_rates_for_all_weights_shrink_with_the_root_of_the_size_and_those_of_adapters_do_not() -> (
    None
):
    highest = 3e-4 * math.sqrt(2 / 7)
    assert not warned("sft", 0.99 * highest, SEVEN)
    assert warned("sft", 1.01 * highest, SEVEN)
    assert not warned("sft", 2e-4, 10 * SEVEN, LORA)


def test_the_doctor_says_it_of_a_model_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer(["Two lattes."] * 20, vocabulary=280, chat="palate")
    tokenizer.save_pretrained("m")
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 8}
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=4, **sizes)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained("m")
    Path("m/model.safetensors").touch()  # the doctor reads no weights for this
    Path("d.jsonl").write_text(json.dumps({"prompt": "Hi", "completion": "Two lattes."}))
    page = io.StringIO()
    for lr in ("1e-3", "2e-5"):
        text = f'[sft]\nmodel = "m"\ndata = "d.jsonl"\nheld_out_fraction = 0\noptimizer.lr = {lr}\n'
        Path("r.toml").write_text(text)
        doctor.run(load_recipe(Path("r.toml")), root=Path(), console=Console(file=page, width=400))
    assert page.getvalue().count("is far above what is usual for sft") == 1
    assert "warning   optimizer.lr = 0.001 is far above" in page.getvalue()
