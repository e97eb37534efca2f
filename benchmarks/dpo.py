"""DPO on preference pairs: TRL's trainer against palate's stage, in bf16 on the same 5 M Llama.

Both sides start from the same folder and read the same pairs; TRL trains eight pairs at a time, as
its documentation does, and palate by its default token budget. palate's time includes loading,
encoding, the reference's log-probabilities and saving; TRL's is `train()` alone.
"""

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from measure import machine, paired
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.stages.pipeline import run_stage

BATCH = 8
LONGEST = 512


def read(path: Path, number: int) -> list[dict[str, list[dict[str, str]]]]:
    """Conversations with an explicit prompt, as TRL names the fields."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = ("prompt", "chosen", "rejected")
    picked = [{name: as_turns(row[name]) for name in names} for row in rows]
    return [row for row in picked if is_whole(row) and words(row) < LONGEST // 2][:number]


def is_whole(row: dict[str, list[dict[str, str]]]) -> bool:
    """No turn is empty, which palate would refuse."""
    return all(turn["content"].strip() for turns in row.values() for turn in turns)


def as_turns(value: str | list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": value}] if isinstance(value, str) else value


def words(row: dict[str, list[dict[str, str]]]) -> int:
    return sum(len(turn["content"].split()) for turns in row.values() for turn in turns)


def start(folder: Path, rows: list[dict[str, list[dict[str, str]]]]) -> None:
    """A Llama of five million parameters with a tokenizer of these texts."""
    texts = [turn["content"] for row in rows for turns in row.values() for turn in turns]
    tokenizer = train_tokenizer(texts, vocabulary=4096, chat="palate")
    architecture = ArchitectureConfig(
        hidden_size=256, layers=5, heads=4, intermediate_size=704, context=1024, vocabulary=4096
    )
    network = build_causal_lm(architecture, tokenizer, seed=0)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")
    save_policy(network, tokenizer, folder, prompt_format="chat")


def train_trl(model: Path, rows: list[dict[str, list[dict[str, str]]]], folder: Path) -> DPOTrainer:
    """A trainer over the rows once; `train` may be called again."""
    return DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        ref_model=AutoModelForCausalLM.from_pretrained(model),
        args=DPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=3e-4,
            max_length=2 * LONGEST,
            bf16=True,
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def train_palate(model: Path, file: Path, root: Path) -> None:
    """The `dpo` stage over the same rows once."""
    overrides = [f"model={model}", f"data={file}", f"batch_groups={BATCH}", "held_out_fraction=0"]
    overrides += ["compute.precision=bf16", f"prompt.max_tokens={LONGEST}"]
    overrides += [f"max_response_tokens={LONGEST}"]
    config = load_stage("dpo", overrides=overrides)
    run_stage("dpo", config, run="ours", seed=0, root=root, console=Console(quiet=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pairs", type=Path, nargs="?", help="JSONL.gz with prompt, chosen, rejected"
    )
    parser.add_argument("--number", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.pairs is None:
        print("skipped: name a file of pairs, such as HH-RLHF's: benchmarks/dpo.py pairs.jsonl.gz")
        return
    torch.set_num_threads(1)
    rows = read(arguments.pairs, arguments.number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, file = folder / "model", folder / "pairs.jsonl"
        start(model, rows)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

        def theirs() -> int:
            trainer.train()
            return len(rows)

        def ours() -> int:
            with tempfile.TemporaryDirectory() as root:
                train_palate(model, file, Path(root))
            return len(rows)

        trainer = train_trl(model, rows, folder / "trl")
        print(machine())
        print(f"{len(rows)} pairs:", paired(theirs, ours, repeats=arguments.repeats, unit="pairs"))


if __name__ == "__main__":
    main()
