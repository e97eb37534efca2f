"""What `evaluate` makes of models that no run here has trained."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.load import load_recipe
from palate.config.stages import ArchitectureConfig
from palate.evaluation.results import Evaluation
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.stages.pipeline import run_recipe
from palate.store.errors import DataError

JUDGE = "def length(prompt, response, reference):\n    return float(len(response))\n"


def save_model(folder: Path, *, seed: int, words: str = "Two lattes are 13.50 please.") -> str:
    tokenizer = train_tokenizer([words] * 20, vocabulary=300, chat="palate")
    architecture = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(architecture, tokenizer, seed=seed)
    save_policy(network, tokenizer, folder, prompt_format="chat")
    return str(folder)


def evaluated(root: Path, models: list[str], *overrides: str) -> tuple[Evaluation, str]:
    """Evaluate folders in a recipe; the first model is the baseline."""
    (root / "judge.py").write_text(JUDGE)
    rows = [json.dumps({"prompt": f"{n} lattes?"}) for n in range(3)]
    (root / "prompts.jsonl").write_text("\n".join(rows))
    recipe = root / "recipe.toml"
    recipe.write_text(
        f'name = "folders"\n[evaluate]\nbaseline = "{models[0]}"\nmodels = {json.dumps(models[1:])}'
        f'\njudge = "{root}/judge.py:length"\nprompts = "{root}/prompts.jsonl"\nk = 2\n'
        "sampling = { max_tokens = 6 }\n[report]\n"
    )
    console = Console(record=True, width=200, file=open(root / "log.txt", "w"))  # noqa: SIM115
    run_recipe(load_recipe(recipe, overrides), root=root, console=console)
    (folder,) = (root / "runs" / "folders").glob("*-evaluate")
    found = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    return found, console.export_text()


@pytest.mark.parametrize("overrides", [(), ("seed=1",)])
def test_models_given_as_folders_are_compared_like_those_of_stages(tmp_path, overrides):
    base, other = (save_model(tmp_path / name, seed=n) for n, name in enumerate(("base", "new")))
    found, table = evaluated(tmp_path, [base, other], *overrides)
    assert [policy.name for policy in found.policies] == [base, other]
    assert found.contenders[0].comparisons[0].prompts == 3
    assert found.seeds == ()
    assert f"Against {base}, 3 held-out prompts" in table
    page = next((tmp_path / "runs" / "folders").glob("*-report/report.html")).read_text()
    assert "not known: the models are from elsewhere" in page


def test_a_model_with_another_tokenizer_has_no_kl_from_the_baseline(tmp_path):
    base = save_model(tmp_path / "base", seed=0)
    other = save_model(tmp_path / "other", seed=0, words="A different sentence altogether!")
    with pytest.raises(DataError, match="tokenizer is not that of the baseline"):
        evaluated(tmp_path, [base, other])
