"""What a training stage connects: its first loss and its reference are those of plain transformers.

Every test runs a stage on a saved model and works out what it logged, or what it saved, from the
folders alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.stages import onpolicy
from palate.stages.context import StageContext
from palate.store.runs import StageDir

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
PROMPTS = ["Two lattes?", "Three lattes, please?", "Tea?", "13.50?"]
FP32 = ("compute.precision=fp32", "compute.device=cpu")


class Kept:
    """A monitor that writes every step's metrics to the folder."""

    def __init__(self, folder: StageDir) -> None:
        self.folder = folder

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        del total
        self.folder.log(step, values)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of 32 dimensions that is far from uniform."""
    architecture = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(architecture, TOKENIZER, seed=0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    folder = tmp_path_factory.mktemp("start") / "policy"
    save_policy(network, TOKENIZER, folder, prompt_format="chat")
    return folder


def context(root: Path, name: str) -> StageContext:
    folder = StageDir(root / f"01-{name}")
    return StageContext(
        name=name,
        folder=folder,
        seed=5,
        monitor=Kept(folder),
        artifacts={},
        store_url=f"sqlite:///{root / 'palate.db'}",
        project="r",
    )


def plain(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def logprobs(
    network: PreTrainedModel,
    prompt: Sequence[int],
    response: Sequence[int],
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """[time] log-probabilities of a response's tokens after a prompt, no other row beside it."""
    ids = torch.tensor([[*prompt, *response]])
    rows = (network(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return rows.gather(1, torch.tensor(response)[:, None])[:, 0]


def asked(tokenizer: AutoTokenizer, prompt: str) -> list[int]:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
    )


def improve(root: Path, start: Path, stage: str, *words: str) -> tuple[StageDir, dict[str, float]]:
    """Two steps against a reward that counts letters, unless `words` say otherwise."""
    reward = "def letters(prompt, response, reference):\n    return sum(map(ord, response)) % 7\n"
    (root / "letters.py").write_text(reward)
    (root / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in PROMPTS))
    common = (f"model={start}", f"prompts={root / 'prompts.jsonl'}", "steps=2", "k=2")
    common += (f"reward={root / 'letters.py'}:letters", "sampling.max_tokens=6", *FP32)
    here = context(root, stage)
    return here.folder, onpolicy.run(load_stage(stage, None, [*common, *words]), here)


@pytest.mark.parametrize("rank", [0, 2])
def test_the_reference_stays_at_the_start_and_the_policy_does_not(
    tmp_path: Path, start: Path, rank: int
) -> None:
    words = ("sampling.temperature=0.7", "epochs=2", "minibatches=2", "optimizer.lr=1e-2")
    schedule = ("optimizer.schedule=linear", "optimizer.warmup_fraction=0")
    folder, _ = improve(tmp_path, start, "grpo", f"lora.rank={rank}", *words, *schedule)
    first, second = folder.metrics()
    assert abs(first["kl/policy_reference"]) < 1e-5
    assert first["policy/sampler_mismatch"] < 1e-5
    assert abs(second["kl/policy_reference"]) > 1e-3
    assert first["optimizer/lr"] == pytest.approx(1e-2 * (1 - 1.5 / 8))  # updates 0 to 3 of 8
    assert second["optimizer/lr"] == pytest.approx(1e-2 * (1 - 5.5 / 8))
    network, tokenizer = plain(start), AutoTokenizer.from_pretrained(start)
    own: list[float] = []
    for line in (folder.path / "rollouts.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompt = asked(tokenizer, row["prompt"])
        expected = logprobs(network, prompt, row["token_ids"], temperature=0.7)
        assert row["ref_logprobs"] == pytest.approx(expected.tolist(), abs=1e-4)
        own += (torch.tensor(row["logprobs"]) - expected).abs().tolist()
    assert max(own) > 1e-3
