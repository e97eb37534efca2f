"""What a training stage connects: its first loss and its reference are those of plain transformers.

Every test runs a stage on a saved model and works out what it logged, or what it saved, from the
folders alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from palate.batches.groups import token_group
from palate.config.common import LoraConfig
from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig
from palate.maths.seeds import seed
from palate.models.adapters import adapter_parameters, add_adapter
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.models.reward_model import reward_from_policy
from palate.stages import dpo, onpolicy, pretrain, reward, sft
from palate.stages.context import StageContext
from palate.store.runs import StageDir
from palate.training.checkpoints import Checkpoints
from palate.training.order import batch_indices

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
RUN_SEED = 5
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
        seed=RUN_SEED,
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


def asked(prompt: str) -> list[int]:
    return TOKENIZER.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
    )


def said(text: str, tokenizer: PreTrainedTokenizerBase = TOKENIZER) -> list[int]:
    """A finished response's ids."""
    return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def improve(root: Path, start: Path, stage: str, *words: str) -> tuple[StageDir, dict[str, float]]:
    """Two steps against a reward that counts letters, unless `words` say otherwise."""
    reward = "def letters(prompt, response, reference):\n    return sum(map(ord, response)) % 7\n"
    (root / "letters.py").write_text(reward)
    (root / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in PROMPTS))
    common = (f"model={start}", f"prompts={root / 'prompts.jsonl'}", "steps=2", "k=2")
    common += (f"reward={root / 'letters.py'}:letters", "sampling.max_tokens=6", *FP32)
    here = context(root, stage)
    return here.folder, onpolicy.run(load_stage(stage, None, [*common, *words]), here)


def reread(
    folder: StageDir, network: PreTrainedModel, *, temperature: float
) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """(the stored rollouts of the last step, their tokens' log-probabilities under a network)."""
    lines = (folder.path / "rollouts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    expected = [
        logprobs(network, asked(r["prompt"]), r["token_ids"], temperature=temperature) for r in rows
    ]
    return rows, [each.tolist() for each in expected]


def test_several_rewards_add_up_by_their_weights_and_are_logged_by_themselves(
    tmp_path: Path, start: Path
) -> None:
    """The second applies to the first response of a prompt alone, and gives it 8."""
    firsts = "def firsts(completions):\n    return [8.0, None] * (len(completions) // 2)\n"
    (tmp_path / "firsts.py").write_text(firsts)
    listed = json.dumps([f"{tmp_path / 'letters.py'}:letters", f"{tmp_path / 'firsts.py'}:firsts"])
    words = (f"reward={listed}", "reward_weights=[1.0, 0.5]", "missing_eos_penalty=0")
    folder, _ = improve(tmp_path, start, "grpo", *words)
    rows, _ = reread(folder, plain(start), temperature=1.0)
    letters = [sum(map(ord, row["response"])) % 7 for row in rows]
    expected = [letter + (4.0, 0.0)[place % 2] for place, letter in enumerate(letters)]
    assert [row["score"] for row in rows] == pytest.approx(expected)
    last = folder.metrics()[-1]
    assert last["reward/part/letters"] == pytest.approx(sum(letters) / len(letters))
    assert last["reward/part/firsts"] == 8.0
    assert last["reward/score"] == pytest.approx(sum(expected) / len(expected))


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
    rows, expected = reread(folder, plain(start), temperature=0.7)
    for row, reference in zip(rows, expected, strict=True):
        assert row["ref_logprobs"] == pytest.approx(reference, abs=1e-4)
        assert row["logprobs"] != pytest.approx(reference, abs=1e-3)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_moving_reference_is_the_average_of_the_start_and_the_policy(
    tmp_path: Path, start: Path, rank: int
) -> None:
    words = ("reference=ema", "reference_decay=0.75", "checkpoint_steps=1", "optimizer.lr=1e-2")
    words += ("sampling.temperature=0.7", f"lora.rank={rank}")
    folder, _ = improve(tmp_path, start, "grpo", *words)
    first, second = folder.metrics()
    assert abs(first["kl/policy_reference"]) < 1e-5
    assert abs(second["kl/policy_reference"]) > 1e-3
    saved = Checkpoints(folder.path / "checkpoints", every=1).latest()
    assert saved is not None
    network = plain(start)
    own = dict(network.named_parameters())
    if rank:
        add_adapter(network, LoraConfig(rank=rank), name="policy", seed=seed(RUN_SEED, "adapter"))
        own = adapter_parameters(network, "policy")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(0.75 * weight + 0.25 * saved.states["policy"][f"weight.{name}"])
    rows, expected = reread(folder, network, temperature=0.7)
    for row, reference in zip(rows, expected, strict=True):
        assert row["ref_logprobs"] == pytest.approx(reference, abs=1e-4)


def written(root: Path, name: str, rows: Sequence[object]) -> str:
    (root / name).write_text("\n".join(map(json.dumps, rows)))
    return f"data={root / name}"


def first_batch(rows: int, *, batch: int) -> list[int]:
    """The rows of the first batch, none at its own place, or mixing the two up would not show."""
    chosen = batch_indices(rows, 0, batch=batch, run_seed=RUN_SEED)
    assert all(row != place for place, row in enumerate(chosen))
    return chosen


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize(("loss", "value"), [("sigmoid", math.log(2)), ("kto", 0.5)])
def test_a_policy_that_is_its_reference_has_the_loss_of_a_zero_margin(
    tmp_path: Path, start: Path, rank: int, loss: str, value: float
) -> None:
    pairs = [
        {
            "prompt": f"{n} lattes?",
            "chosen": "13.50 " * (8 - n),
            "rejected": "Two lattes. " + "a" * n,
        }
        for n in range(8)
    ]
    labelled = [
        {"prompt": f"{n} lattes?", "completion": "13.50 " * (n + 1), "label": n % 2 == 0}
        for n in range(8)
    ]
    data = written(tmp_path, "rows.jsonl", pairs if loss == "sigmoid" else labelled)
    words = ("batch_groups=2", "held_out_fraction=0", f"lora.rank={rank}", "optimizer.lr=1e-2")
    words += (f"model={start}", data, f"loss={loss}", *FP32)
    here = context(tmp_path, "dpo")
    dpo.run(load_stage("dpo", None, words), here)
    first, *later = here.folder.metrics()
    assert first["dpo/loss"] == pytest.approx(value, abs=5e-6)
    assert abs(first.get("dpo/margin", 0.0)) < 1e-4
    assert len(later) == 3
    assert all(abs(line["dpo/loss"] - value) > 1e-3 for line in later)


def preferences(row: int) -> list[dict[str, int]]:
    """Of three responses another one is best in every row, and every other row has two pairs."""
    best, other, last = row % 3, (row + 1) % 3, (row + 2) % 3
    pairs = [{"winner": best, "loser": other}, {"winner": best, "loser": last}]
    return pairs[: 1 + row % 2]


def answers(row: int) -> list[str]:
    return ["13.50 please.", "Two lattes are" + " 13" * row, "b" * (row + 1)]


@torch.no_grad()
def test_the_first_loss_of_a_reward_model_is_that_of_its_backbone_and_head(
    tmp_path: Path, start: Path
) -> None:
    rows = [
        {
            "group": {
                "prompt": {"messages": [{"role": "user", "content": f"{row} lattes?"}]},
                "responses": [{"text": text} for text in answers(row)],
            },
            "preferences": preferences(row),
        }
        for row in range(6)
    ]
    words = (f"model={start}", written(tmp_path, "judged.jsonl", rows), "held_out_fraction=0")
    words += ("batch_groups=2", "optimizer.lr=1e-2", "compute.micro_batch_tokens=1", *FP32)
    here = context(tmp_path, "reward")
    with torch.enable_grad():
        reward.run(load_stage("reward", None, words), here)
    network = plain(start)
    head = reward_from_policy(network, seed=seed(RUN_SEED, "head")).score.weight[0]

    def scored(model: PreTrainedModel, head: torch.Tensor, row: int) -> torch.Tensor:
        prompt = asked(f"{row} lattes?")
        ids = [[*prompt, *said(text)] for text in answers(row)]
        last = [model(torch.tensor([one])).last_hidden_state[0, -1] for one in ids]
        return torch.stack(last) @ head

    losses = []
    for row in first_batch(6, batch=2):
        scores = scored(network.base_model, head, row)
        gaps = [scores[p["winner"]] - scores[p["loser"]] for p in preferences(row)]
        losses.append(-torch.stack(gaps).sigmoid().log().mean())
    first = here.folder.metrics()[0]
    assert first["reward/loss"] == pytest.approx(float(sum(losses)) / 2, rel=1e-5)

    saved = AutoModelForSequenceClassification.from_pretrained(here.folder.path / "model").eval()
    ends = [scored(saved.base_model, saved.score.weight[0], row) for row in range(6)]
    assert saved.config.palate_center == pytest.approx(float(torch.cat(ends).mean()), abs=1e-5)
    assert abs(saved.config.palate_center) > 0.01


def conversation(row: int) -> list[dict[str, str]]:
    """Two turns of the assistant, of other lengths in every row."""
    return [
        {"role": "user", "content": f"{row} lattes?"},
        {"role": "assistant", "content": "13.50 please." * (row % 3 + 1)},
        {"role": "user", "content": "And tea" * (row + 1)},
        {"role": "assistant", "content": "are " * (7 - row)},
    ]


def test_the_first_loss_of_imitation_is_the_mean_over_the_assistants_tokens(
    tmp_path: Path, start: Path
) -> None:
    rows = [{"messages": conversation(row)} for row in range(6)]
    words = (f"model={start}", written(tmp_path, "told.jsonl", rows), "train_on=all", *FP32)
    here = context(tmp_path, "sft")
    sft.run(load_stage("sft", None, [*words, "batch_rows=2", "compute.micro_batch_tokens=1"]), here)
    network = plain(start)
    nlls: list[float] = []
    for row in first_batch(6, batch=2):
        first, answer, second, last = (turn["content"] for turn in conversation(row))
        heard = asked(first)
        between = asked(second)[1:]  # no other BOS in the middle
        told = said(answer)
        ids = [*heard, *told, *between, *said(last)]
        assert ids == TOKENIZER.apply_chat_template(conversation(row), return_dict=False)
        nll = -logprobs(network, heard, ids[len(heard) :])
        counted = [*nll[: len(told)], *nll[len(told) + len(between) :]]
        nlls += map(float, counted)
    logged = here.folder.metrics()[0]
    assert logged["sft/nll"] == pytest.approx(sum(nlls) / len(nlls), rel=1e-5)


def test_the_first_loss_of_pretraining_is_the_mean_over_the_tokens_of_its_blocks(
    tmp_path: Path,
) -> None:
    """Without a learning rate the saved model is still the one that the first loss is of."""
    documents = [f"{row} lattes are 13.50" + ", please" * row for row in range(8)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"text": d}) for d in documents))
    words = [f"corpus={tmp_path / 'corpus.jsonl'}", "architecture.hidden_size=32", *FP32]
    words += ["architecture.layers=1", "architecture.heads=2", "architecture.vocabulary=300"]
    words += ["block_tokens=8", "batch_tokens=16", "optimizer.lr=0"]
    here = context(tmp_path, "pretrain")
    pretrain.run(load_stage("pretrain", None, words), here)
    folder = here.folder.path / "model"
    network, tokenizer = plain(folder), AutoTokenizer.from_pretrained(folder)
    blocks: list[tuple[list[int], list[int]]] = []
    for document in documents:
        ids = [tokenizer.bos_token_id, *said(document, tokenizer)]
        blocks += [(ids[i : i + 1], ids[i + 1 : i + 8]) for i in range(0, len(ids) - 1, 7)]
    batch = 16 * len(blocks) // sum(1 + len(block) for _, block in blocks)
    assert batch == 2
    nlls = torch.cat([-logprobs(network, *blocks[i]) for i in first_batch(len(blocks), batch=2)])
    logged = here.folder.metrics()[0]
    assert logged["sft/nll"] == pytest.approx(float(nlls.mean()), rel=1e-5)


def test_a_document_is_cut_into_blocks_that_each_go_on_from_the_last_token() -> None:
    document = token_group("d", (1,), (tuple(range(10, 29)),))
    blocks = pretrain.pieces(document, 8)
    assert [block.num_tokens for block in blocks] == [8, 8, 6]
    assert [t for block in blocks for t in block.responses[0]] == list(range(10, 29))
    assert [block.prompt for block in blocks] == [(1,), (16,), (23,)]
    assert all(all(block.masks[0]) for block in blocks)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(plain(folder).named_parameters())


def same_bits(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_policy_beyond_its_hard_budget_goes_back_to_its_certified_weights_bit_for_bit(
    tmp_path: Path, start: Path, rank: int
) -> None:
    """The one step starts at the reference, so that the start is what was last certified."""
    words = ("kl.control=hard", "kl.target=1e-3", "optimizer.lr=1e-2", "steps=1")
    folder, summary = improve(tmp_path, start, "grpo", f"lora.rank={rank}", *words)
    assert folder.metrics()[0]["policy/grad_norm"] > 0
    assert same_bits(weights(folder.path / "model"), weights(start))
    assert summary["kl/certified"] == 1
    assert summary["kl/certified_bound"] == pytest.approx(0, abs=1e-6)


def test_a_policy_within_its_hard_budget_keeps_its_weights_bit_for_bit(
    tmp_path: Path, start: Path
) -> None:
    words = ("optimizer.lr=1e-2", "steps=1")
    hard, summary = improve(tmp_path, start, "grpo", "kl.control=hard", "kl.target=1e3", *words)
    trained = weights(hard.path / "model")
    assert summary["kl/certified"] == 1
    assert summary["kl/certified_bound"] > 1e-3
    (tmp_path / "soft").mkdir()
    soft, _ = improve(tmp_path / "soft", start, "grpo", "kl.control=soft", *words)
    assert same_bits(trained, weights(soft.path / "model"))
    assert not same_bits(trained, weights(start))


@pytest.mark.parametrize("source", ["reward", "policy"])
def test_a_critic_starts_with_the_bits_of_the_backbone_that_it_is_to_come_from(
    tmp_path: Path, start: Path, source: str
) -> None:
    """Without a learning rate the critic of a checkpoint is still the one that began."""
    pairs = [{"prompt": prompt, "chosen": "13.50.", "rejected": "Two."} for prompt in PROMPTS]
    words = [f"model={start}", written(tmp_path, "pairs.jsonl", pairs), "held_out_fraction=0"]
    judge = context(tmp_path, "reward")
    reward.run(load_stage("reward", None, [*words, "optimizer.lr=1e-2", *FP32]), judge)
    judged = judge.folder.path / "model"
    words = [f"reward={judged}", f"critic_from={source}", "critic_optimizer.lr=0"]
    folder, _ = improve(tmp_path, start, "ppo", *words, "checkpoint_steps=1")
    saved = Checkpoints(folder.path / "checkpoints", every=1).latest()
    assert saved is not None
    prefix = "weight.backbone."
    critic = {
        name.removeprefix(prefix): weight
        for name, weight in saved.states["critic"].items()
        if name.startswith(prefix)
    }
    classifier = AutoModelForSequenceClassification.from_pretrained(judged)
    backbones = {"reward": classifier.base_model, "policy": plain(start).base_model}
    trained = dict(backbones["reward"].named_parameters())
    assert not torch.equal(trained["norm.weight"], backbones["policy"].norm.weight)
    assert same_bits(critic, dict(backbones[source].named_parameters()))
