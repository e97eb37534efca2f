"""Predicted against measured peak memory of stages on a CPU, each in a process of its own.

python benchmarks/memory.py [NAME ...]: a line per stage and size, then how many are within 15 %.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import machine

from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.records import Group, Preference, PreferenceGroup, Response, user_prompt
from palate.worlds import cafe

SIZES = {
    "0.8M": ArchitectureConfig(
        hidden_size=128, layers=2, heads=4, intermediate_size=512, vocabulary=2048, context=512
    ),
    "7M": ArchitectureConfig(
        hidden_size=256, layers=6, heads=4, intermediate_size=1024, vocabulary=4096, context=512
    ),
    "29M": ArchitectureConfig(
        hidden_size=512, layers=8, heads=8, intermediate_size=1536, vocabulary=8192, context=512
    ),
    "64M": ArchitectureConfig(
        hidden_size=768, layers=8, heads=12, intermediate_size=2048, vocabulary=8192, context=512
    ),
}
TAUGHT = "data=cafe:demonstrations:400 epochs=2 batch_rows=16 optimizer.lr=1e-3"
DATA = "data=cafe:demonstrations:96 epochs=1 batch_rows=16"
ONLINE = (
    'prompts="cafe:prompts:64" steps=3 batch_prompts=8 reward=judge:cafe sampling.max_tokens=48'
)
LONG = (
    'prompts="cafe:prompts:2000" steps=30 batch_prompts=32 minibatches=2 reward=judge:cafe '
    "sampling.max_tokens=96"
)
STAGES = {
    "pretrain": "corpus=cafe:corpus:600 epochs=1 batch_tokens=2048",
    "sft": DATA,
    "sft-fp32": DATA + " compute.precision=fp32",
    "sft-lora": DATA + " lora.rank=8",
    "sft-small": DATA + " compute.micro_batch_tokens=512",
    "sft-long": "data=cafe:demonstrations:2000 epochs=1 batch_rows=16",
    "pretrain-long": "corpus=cafe:corpus:4000 epochs=1 batch_tokens=1024",
    "dpo": "data={pairs} epochs=1 batch_groups=8",
    "reward": "data={pairs} epochs=1 batch_groups=8 held_out_fraction=0",
    "dpo-long": "data={groups} epochs=1 batch_groups=16 compute.micro_batch_tokens=2048",
    "reward-long": "data={groups} epochs=2 batch_groups=8 held_out_fraction=0.1",
    "ppo": ONLINE,
    "ppo-long": LONG + " k=4",
    "grpo-long": LONG,
    "ppo-lora": ONLINE + " lora.rank=8",
    "rloo": ONLINE + " k=4",
    "online_dpo": ONLINE,
    "grpo": ONLINE + " k=4",
    "grpo-lora": ONLINE + " k=4 lora.rank=8",
}
CASES = [
    ("pretrain", "7M"),
    ("pretrain", "29M"),
    *(("sft", size) for size in SIZES),
    ("sft-long", "0.8M"),
    ("sft-small", "29M"),
    ("sft-lora", "29M"),
    ("sft-fp32", "29M"),
    ("dpo", "7M"),
    ("dpo", "29M"),
    ("reward", "7M"),
    ("ppo", "0.8M"),
    ("ppo", "7M"),
    ("ppo-lora", "29M"),
    ("rloo", "7M"),
    ("online_dpo", "7M"),
    ("grpo", "7M"),
    ("grpo", "29M"),
    ("grpo-lora", "29M"),
    ("pretrain-long", "0.8M"),
    ("dpo-long", "0.8M"),
    ("dpo-long", "7M"),
    ("reward-long", "0.8M"),
    ("reward-long", "7M"),
    ("ppo-long", "0.8M"),
    ("grpo-long", "0.8M"),
]
TOLERANCE = 0.15


def prepare(folder: Path) -> None:
    """Random models of every size, and preferences between answers of the embedded world."""
    documents = cafe.corpus(2000, seed=0)
    for name, architecture in SIZES.items():
        tokenizer = train_tokenizer(documents, vocabulary=architecture.vocabulary, chat="palate")
        network = build_causal_lm(architecture, tokenizer, seed=0)
        save_policy(network, tokenizer, folder / name, prompt_format="chat")
    rows = cafe.demonstrations(2500, seed=1)
    asked = [row.messages[0].content for row in rows]
    said = list(dict.fromkeys(row.messages[-1].content for row in rows))
    # Any answers will do: only their lengths and number matter here.
    pairs = [
        {"prompt": prompt, "chosen": said[i], "rejected": said[i + 1]}
        for i, prompt in enumerate(asked[:96])
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    groups = [ranked(prompt, said[i % 1000 :][:6]) for i, prompt in enumerate(asked)]
    (folder / "groups.jsonl").write_text("\n".join(one.model_dump_json() for one in groups))


def ranked(prompt: str, texts: list[str]) -> PreferenceGroup:
    """A prompt's answers, of which each is better than the next."""
    whole = Group(
        prompt=user_prompt(prompt), responses=tuple(Response(text=text) for text in texts)
    )
    better = tuple(Preference(winner=i, loser=i + 1) for i in range(len(texts) - 1))
    return PreferenceGroup(group=whole, preferences=better)


def teach(folder: Path, size: str) -> Path:
    """A model of a size that has learned to end its answers, as policies have."""
    run = f"taught-{size}".replace(".", "_")
    if not (folder / "runs" / run).exists():
        command(folder, "sft", run, f"model={folder / size}", *TAUGHT.split())
    (model,) = (folder / "runs" / run).glob("*/model")
    return model


def command(folder: Path, verb: str, run: str, *words: str) -> None:
    """A stage in a process of its own."""
    call = [sys.executable, "-m", "palate", verb, "--run", run, "--root", str(folder), *words]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)


def start(stage: str, folder: Path, size: str) -> list[str]:
    """The words for a model of a size: its folder, or what it is made like.

    Short on-policy stages take the random one, whose answers are as long as they may be.
    """
    verb = stage.partition("-")[0]
    if stage in ("ppo-long", "grpo-long"):
        return [f"model={teach(folder, size)}"]
    if verb != "pretrain":
        return [f"model={folder / size}"]
    chosen = SIZES[size].model_dump(exclude_unset=True)
    return [f"architecture.{key}={value}" for key, value in chosen.items()]


def measured(folder: Path, stage: str, size: str) -> dict[str, float]:
    """Predicted and peak MiB of one stage."""
    words = STAGES[stage].format(**{n: folder / f"{n}.jsonl" for n in ("pairs", "groups")}).split()
    run = f"{stage}-{size}".replace(".", "_")
    verb = stage.partition("-")[0]
    command(folder, verb, run, *start(stage, folder, size), *words)
    (timing,) = (folder / "runs" / run).glob("*/timing.json")
    return json.loads(timing.read_text())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="stage or stage-size, all by default")
    names = parser.parse_args().names
    print(machine())
    print(f"{'stage':<12}{'size':>8}{'predicted':>12}{'measured':>12}{'ratio':>8}   MiB")
    near = total = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        for stage, size in CASES:
            if names and not {stage, f"{stage}-{size}"} & set(names):
                continue
            took = measured(folder, stage, size)
            predicted, peak = took["predicted_memory_mib"], took["peak_memory_mib"]
            near, total = near + (abs(predicted / peak - 1) <= TOLERANCE), total + 1
            print(
                f"{stage:<12}{size:>8}{predicted:>12.0f}{peak:>12.0f}{predicted / peak:>8.2f}",
                flush=True,
            )
    print(f"{near} of {total} within {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
