"""What stages say of rewards that have nothing to compare with, or nothing to tell apart."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.stages.pipeline import run_stage
from palate.store.errors import DataError

SETTINGS = (
    "steps=2",
    "batch_prompts=2",
    "k=2",
    "sampling.max_tokens=4",
    "optimizer.lr=0",
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = train_tokenizer(["How much are two lattes? 9."] * 20, vocabulary=300, chat="palate")
    architecture = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(architecture, tokenizer, seed=0)
    save_policy(network, tokenizer, folder, prompt_format="chat")
    return str(folder)


def trained(root: Path, policy: str, rows: list[dict], *settings: str) -> str:
    """What `palate grpo` says about these prompts."""
    prompts = root / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    console = Console(file=io.StringIO(), record=True, width=400)
    given = (f"model={policy}", f"prompts={prompts}", *SETTINGS, *settings)
    config = load_stage("grpo", None, given)
    run_stage("grpo", config, run="r", seed=0, root=root, console=console)
    return console.export_text()


def test_a_verifier_without_any_reference_is_refused(tmp_path, policy):
    rows = [{"prompt": "1 + 1?", "ground_truth": "2"}, {"prompt": "2 + 2?", "solution": "4"}]
    with pytest.raises(DataError, match="no row has a reference, so verifier:math would reward"):
        trained(tmp_path, policy, rows, "reward=verifier:math")


@pytest.mark.parametrize("answer", [["2"], {"value": "2"}])
def test_an_answer_that_is_a_list_or_an_object_is_refused_like_such_a_reference(
    tmp_path, policy, answer
):
    with pytest.raises(DataError, match=r"row 1, field 'answer': expected text"):
        trained(tmp_path, policy, [{"prompt": "1 + 1?", "answer": answer}], "reward=verifier:math")


def test_an_unreadable_reference_is_named_by_its_row_before_training(tmp_path, policy):
    rows = [{"prompt": "1 + 1?", "answer": "2"}, {"prompt": "When?", "answer": "3:30 pm"}]
    with pytest.raises(DataError, match=r"row 2, field 'reference': .*is a time of day") as caught:
        trained(tmp_path, policy, rows, "reward=verifier:math")
    assert "verifier:exact" in str(caught.value)
    said = trained(tmp_path, policy, rows, "reward=verifier:math", "bad_rows=skip")
    assert "left out 1 bad rows" in said


def test_a_run_in_which_no_reward_differed_says_so_at_its_end(tmp_path, policy):
    rows = [{"prompt": "1 + 1?", "answer": "1234567"}]
    said = trained(tmp_path, policy, rows, "reward=verifier:exact")
    assert "WARNING: in every step the responses to each prompt all had the same reward" in said
