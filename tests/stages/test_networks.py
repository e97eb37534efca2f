"""Which networks a stage holds while it trains, and on which backbone the reward model stands."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from palate.config.common import ComputeConfig, LoraConfig, PromptConfig
from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig, DpoConfig, RewardConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.records import Group, Response, user_prompt
from palate.stages import dpo, onpolicy, reward
from palate.stages.context import StageContext
from palate.stages.policies import open_policy, open_scorer, with_reference
from palate.store.runs import StageDir

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
PAIRS = [
    {"prompt": f"{n} lattes?", "chosen": "13.50 please.", "rejected": "Two lattes."}
    for n in range(8)
]


class Counting:
    """A monitor that keeps the metrics and counts the networks with weights at the first step."""

    def __init__(self, folder: StageDir) -> None:
        self.folder = folder
        self.alive: tuple[int, ...] = ()

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        del total
        self.folder.log(step, values)
        if step == 0:
            kinds = (LlamaForCausalLM, LlamaForSequenceClassification)
            living = [one for one in gc.get_objects() if type(one) in kinds]
            heavy = [type(one) for one in living if one.device.type != "meta"]
            self.alive = tuple(heavy.count(kind) for kind in kinds)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    architecture = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(architecture, TOKENIZER, seed=0)
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    return tmp_path


def context(root: Path, name: str) -> tuple[StageContext, Counting]:
    folder = StageDir(root / f"01-{name}")
    monitor = Counting(folder)
    made = StageContext(
        name=name,
        folder=folder,
        seed=0,
        monitor=monitor,
        artifacts={},
        store_url=f"sqlite:///{root / 'palate.db'}",
        project="r",
    )
    return made, monitor


def trained_reward(root: Path, *, rank: int) -> tuple[str, tuple[int, ...]]:
    config = RewardConfig(
        model=str(root / "policy"),
        data=str(root / "pairs.jsonl"),
        batch_groups=2,
        held_out_fraction=0,
        lora=LoraConfig(rank=rank),
    )
    here, monitor = context(root, f"reward{rank}")
    reward.run(config, here)
    return str(here.folder.path / "model"), monitor.alive


def test_a_reward_model_trains_without_the_policy_that_it_was_made_from(root: Path) -> None:
    _, alive = trained_reward(root, rank=0)
    assert alive == (0, 1)


def test_dpo_trains_without_the_copy_that_was_its_reference(root: Path) -> None:
    config = DpoConfig(
        model=str(root / "policy"),
        data=str(root / "pairs.jsonl"),
        batch_groups=2,
        held_out_fraction=0,
    )
    here, monitor = context(root, "dpo")
    dpo.run(config, here)
    assert monitor.alive == (1, 0)


@pytest.mark.parametrize(("rank", "networks"), [(0, (1, 1)), (2, (1, 0))])
def test_rl_with_adapters_holds_one_network_where_the_reward_model_is_one_too(
    root: Path, rank: int, networks: tuple[int, int]
) -> None:
    judge, _ = trained_reward(root, rank=rank)
    (root / "prompts.jsonl").write_text('{"prompt": "Two lattes?"}\n{"prompt": "Three?"}\n')
    words = [f"model={root / 'policy'}", f"reward={judge}", f"prompts={root / 'prompts.jsonl'}"]
    words += ["steps=2", "k=2", "lora.rank=2", "sampling.max_tokens=4"]
    here, monitor = context(root, "ppo")
    onpolicy.run(load_stage("ppo", None, words), here)
    assert monitor.alive == networks


def test_the_shared_reward_model_gives_the_scores_of_the_separate_one(root: Path) -> None:
    judge, _ = trained_reward(root, rank=2)
    here, _ = context(root, "grpo")
    prompt, compute = PromptConfig(), ComputeConfig(precision="fp32")
    policy = open_policy(here, str(root / "policy"), prompt=prompt, compute=compute)
    groups = [
        Group(
            prompt=user_prompt(f"{n} lattes?"),
            responses=(Response(text="13.50 please."), Response(text="Two lattes are" + " 13" * n)),
        )
        for n in range(5)
    ]

    def scores() -> torch.Tensor:
        scorer = open_scorer(here, judge, prompt=prompt, compute=compute, policy=policy)
        return torch.tensor(scorer.score(groups))

    own = scores()
    with_reference(policy, LoraConfig(rank=3), temperature=1.0, run_seed=0)
    torch.testing.assert_close(scores(), own, rtol=0, atol=1e-5)
    assert own.std() > 1e-3
