"""The whole loop on a tiny model: every stage runs, repeats to the bit, is skipped when done."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from palate.config.load import load_recipe
from palate.config.onpolicy import PpoConfig
from palate.config.render import to_toml
from palate.config.stages import PretrainConfig, SftConfig
from palate.records import PreferenceGroup
from palate.stages.pipeline import check_home, input_hashes, run_recipe
from palate.stages.report import recipe_of
from palate.store.database import Store
from palate.store.errors import DataError
from palate.store.formats import read_groups, read_preferences
from palate.store.runs import StageDir

RECIPE = """
name = "tiny"
seed = 3

[pretrain]
corpus = "cafe:corpus:40"
batch_tokens = 2048

[pretrain.architecture]
hidden_size = 32
layers = 2
heads = 2
intermediate_size = 64
vocabulary = 300
context = 384

[sft]
data = "cafe:demonstrations:24"
epochs = 1
batch_rows = 8

[sample]
prompts = "cafe:prompts:12"
k = 3
sampling = { max_tokens = 12 }

[judge]
held_out_fraction = 0.3

[reward]
epochs = 1
batch_groups = 4

[ppo]
steps = 4
batch_prompts = 4
k = 2
sampling = { max_tokens = 12 }
checkpoint_steps = 1

[grpo]
steps = 2
batch_prompts = 4
k = 2
sampling = { max_tokens = 12 }

[rloo]
steps = 2
batch_prompts = 4
k = 2
sampling = { max_tokens = 12 }
lora = { rank = 2 }
reference = "ema"

[reinforce]
preset = "reinforce++"
steps = 2
batch_prompts = 4
sampling = { max_tokens = 12 }

[online_dpo]
steps = 2
batch_prompts = 4
sampling = { max_tokens = 12 }
reference = "ema"

[dpo]
batch_groups = 4

[best]
stage = "judge"
judge = "@reward"
ask = "best"

[best_of_n]
stage = "sft"
model = "@sft"
data = "@best"
epochs = 1

[evaluate]
models = ["@best_of_n", "@dpo", "@rloo", "@grpo", "@ppo"]
reward_model = "@reward"
preferences = "@judge"
limit = 6
best_of = 2
sampling = { max_tokens = 12 }

[report]
"""


def run(root: Path, overrides: tuple[str, ...] = ()) -> str:
    recipe = root / "tiny.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    console = Console(record=True, width=200, file=open(root / "log.txt", "a"))  # noqa: SIM115
    run_recipe(load_recipe(recipe, overrides), root=root, console=console)
    return console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    run(root)
    return root


def stage(root: Path, name: str) -> Path:
    return next((root / "runs" / "tiny").glob(f"*-{name}"))


def test_every_stage_leaves_a_manifest_that_names_its_inputs_by_hash(finished):
    manifest = json.loads((stage(finished, "reward") / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"@sft", "@judge"}
    assert {"model/model.safetensors", "metrics.jsonl"} <= set(manifest["outputs"])


def test_a_second_run_does_nothing_and_an_override_reruns_only_what_depends_on_it(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("manifest.json")}
    text = run(finished)
    assert text.count("finished before, skipped") == 15
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("manifest.json")}


def test_policies_and_reward_models_load_with_plain_transformers_and_talk(finished):
    for name in ("pretrain", "sft", "dpo", "ppo", "rloo", "reinforce", "online_dpo"):
        folder = stage(finished, name) / "model"
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Do you have tea?"}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        out = model.generate(**ids, max_new_tokens=4)
        assert out.shape[1] <= ids["input_ids"].shape[1] + 4
    reward = AutoModelForSequenceClassification.from_pretrained(stage(finished, "reward") / "model")
    assert reward.config.num_labels == 1


def test_training_moved_every_policy_and_left_the_reference_alone(finished):
    def weights(name):
        return load_file(stage(finished, name) / "model" / "model.safetensors")

    start = weights("sft")
    for name in ("ppo", "grpo", "rloo", "dpo", "best_of_n"):
        moved = weights(name)
        assert any(not torch.equal(start[key], moved[key]) for key in start), name


def test_judgements_went_through_the_database_and_are_split_by_prompt(finished):
    train = list(read_preferences(str(stage(finished, "judge") / "preferences.jsonl")))
    held = list(read_preferences(str(stage(finished, "judge") / "held_out.jsonl")))
    assert train
    assert held
    prompts = {row.group.prompt.id for row in train}
    assert prompts.isdisjoint(row.group.prompt.id for row in held)
    assert all(isinstance(row, PreferenceGroup) for row in train)
    with Store(f"sqlite:///{finished / 'palate.db'}") as store:
        stored = {group.id for group in store.groups("tiny")}
    sampled = {g.id for g in read_groups(str(stage(finished, "sample") / "groups.jsonl"))}
    assert sampled <= stored


def test_the_evaluation_compares_everybody_with_the_baseline_and_the_report_stands_alone(finished):
    evaluation = json.loads((stage(finished, "evaluate") / "evaluation.json").read_text())
    names = [policy["name"] for policy in evaluation["policies"]]
    assert names == ["sft", "best_of_2", "best_of_n", "dpo", "rloo", "grpo", "ppo"]
    assert evaluation["policies"][0]["kl"]["estimate"] == pytest.approx(0.0, abs=1e-6)
    page = (stage(finished, "report") / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert 'src="http' not in page


def test_the_first_minibatch_has_ratio_one_and_the_metrics_are_finite(finished):
    rows = [json.loads(line) for line in (stage(finished, "grpo") / "metrics.jsonl").open()]
    for row in rows:
        assert abs(row["kl/old_policy"]) < 1e-3
        assert row["policy/clip_fraction"] == 0.0
    ppo = [json.loads(line) for line in (stage(finished, "ppo") / "metrics.jsonl").open()]
    assert [row["step"] for row in ppo] == [0, 1, 2, 3]
    assert {"critic/explained_variance", "kl/policy_reference", "reward/score"} <= set(ppo[0])


def test_the_report_says_what_policies_are_and_shows_ratios_control_and_a_group(finished):
    report = json.loads((stage(finished, "report") / "report.json").read_text())["inputs"]
    said = {note["name"]: note["text"] for note in report["notes"]}
    assert set(said) == {"sft", "best_of_2", "best_of_n", "dpo", "rloo", "grpo", "ppo"}
    assert "imitates those of its answers that reward liked best" in said["best_of_n"]
    assert "Nothing is trained" in said["best_of_2"]
    assert [one["name"] for one in report["ratios"]] == ["ppo", "grpo", "reinforce"]
    assert [row["step"] for row in report["ratios"][0]["steps"]] == [0, 1, 2, 3]
    controls = {one["name"]: one["control"] for one in report["controls"]}
    assert controls == dict.fromkeys(("ppo", "grpo", "rloo", "reinforce"), "soft")
    assert [group["policy"] for group in report["groups"]] == ["grpo", "rloo"]
    for group in report["groups"]:
        rewards = [answer["reward"] for answer in group["answers"]]
        advantages = [answer["advantage"] for answer in group["answers"]]
        assert sum(advantages) == pytest.approx(0, abs=1e-4)
        assert sorted(rewards) == [r for _, r in sorted(zip(advantages, rewards, strict=True))]


def test_the_report_names_the_recipe_that_gives_this_run_again_while_there_is_one(finished):
    folder = finished / "runs" / "tiny"
    report = json.loads((stage(finished, "report") / "report.json").read_text())["inputs"]
    objectives = [one["name"] for one in report["objectives"]]
    assert objectives == ["ppo", "grpo", "rloo", "reinforce", "online_dpo"]
    facts = report["facts"]
    assert facts["command"] == f"palate run {folder.as_posix()}/recipe.toml"
    again = load_recipe(folder / "recipe.toml")
    assert again == load_recipe(finished / "tiny.toml")
    stages = {name: StageDir(stage(finished, name)) for name in again.stages}
    seeds = {name: folder.manifest().seed for name, folder in stages.items() if name != "report"}
    assert facts["seeds"] == seeds
    assert recipe_of(folder / "recipe.toml", stages) == again
    for change in ("sft.epochs=2", "seed=4"):
        other = finished / "other.toml"
        other.write_text(to_toml(load_recipe(folder / "recipe.toml", (change,))), encoding="utf-8")
        assert recipe_of(other, stages) is None


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(finished, tmp_path):
    run(tmp_path)
    for path in sorted((finished / "runs" / "tiny").rglob("*")):
        if path.name in ("metrics.jsonl", "model.safetensors", "evaluation.json", "held_out.json"):
            twin = tmp_path / path.relative_to(finished)
            assert path.read_bytes() == twin.read_bytes(), path
    other = tmp_path / "other"
    other.mkdir()
    run(other, ("seed=4",))
    mine = (stage(finished, "ppo") / "metrics.jsonl").read_text()
    assert mine != (stage(other, "ppo") / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_resumes_to_the_same_bits(finished, tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "palate", "run", "tiny.toml", "--root", str(tmp_path)]
    kills = 0
    for marker in ("01-pretrain/metrics.jsonl", "06-ppo/metrics.jsonl", "11-dpo/begun.json"):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (tmp_path / "runs" / "tiny" / marker).is_file():
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        process.wait()
    assert kills == 3
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for name in ("pretrain", "ppo", "dpo"):
        for file in ("metrics.jsonl", "model/model.safetensors"):
            one, two = stage(finished, name) / file, stage(tmp_path, name) / file
            assert one.read_bytes() == two.read_bytes(), (name, file)


def test_a_mistake_takes_no_finished_stage_away(finished):
    before = (stage(finished, "grpo") / "metrics.jsonl").read_bytes()
    with pytest.raises(DataError, match="no such file"):
        run(finished, ("grpo.prompts=prmpts.jsonl",))
    assert (stage(finished, "grpo") / "manifest.json").is_file()
    printed = run(finished)
    assert printed.count("finished before, skipped") == len(
        load_recipe(finished / "tiny.toml").stages
    )
    assert (stage(finished, "grpo") / "metrics.jsonl").read_bytes() == before


def test_the_recipe_that_a_run_keeps_begins_no_other_run_by_itself(finished, tmp_path):
    kept = finished / "runs" / "tiny" / "recipe.toml"
    check_home(kept, load_recipe(kept), root=finished)
    for root, overrides in ((tmp_path, ()), (finished, ("name=other",))):
        with pytest.raises(DataError, match="it is the recipe of the run in"):
            check_home(kept, load_recipe(kept, overrides), root=root)
    copy = tmp_path / "recipe.toml"
    copy.write_bytes(kept.read_bytes())
    check_home(copy, load_recipe(copy), root=tmp_path)


def test_a_comma_in_a_name_is_part_of_it_but_in_a_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("p,q.jsonl", "a.txt", "b.txt"):
        Path(name).write_text(name)
    hashes = input_hashes(SftConfig(data="p,q.jsonl", model="a.txt"), {}, "")
    assert set(hashes) == {"p,q.jsonl", "a.txt"}
    assert set(input_hashes(PretrainConfig(corpus="a.txt, b.txt"), {}, "")) == {"a.txt", "b.txt"}


def test_only_what_a_stage_reads_is_hashed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "palate").mkdir()
    (tmp_path / "text.txt").write_text("one\n")
    (tmp_path / "mine.py").write_text("def reward(p, r, ref): return 0\n")
    assert set(input_hashes(PretrainConfig(corpus="text.txt, cafe:corpus"), {}, "")) == {"text.txt"}
    before = input_hashes(PpoConfig(reward="mine.py:reward"), {}, "")
    (tmp_path / "mine.py").write_text("def reward(p, r, ref): return 1\n")
    after = input_hashes(PpoConfig(reward="mine.py:reward"), {}, "")
    assert set(before) == {"mine.py"}
    assert before != after
    several = PpoConfig(reward=("verifier:exact", "mine.py:reward", "text.txt"))
    assert set(input_hashes(several, {}, "")) == {"mine.py", "text.txt"}
