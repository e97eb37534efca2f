"""What the stages over fixed data share: limits, the number of updates, and rows that are held out.

Every stage trains a tiny network on eighteen rows for real.
"""

import json
from pathlib import Path

import pytest

from palate.config.load import load_stage
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.records import user_prompt
from palate.stages import dpo, reward, sft
from palate.stages.context import StageContext
from palate.store.errors import DataError
from palate.store.formats import split_by_prompt
from palate.store.runs import StageDir
from tests.training.stops import Interrupted

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
KINDS = {
    "sft": (sft.run, ["batch_rows=4"]),
    "dpo": (dpo.run, ["batch_groups=4"]),
    "kto": (dpo.run, ["batch_groups=4", "loss=kto"]),
    "reward": (reward.run, ["batch_groups=4"]),
}
STOPPED = 2


class Keeping:
    """A monitor that keeps the metrics, and stops after as many updates as it is told."""

    def __init__(self, folder: StageDir, last: int = -1) -> None:
        self.folder, self.last = folder, last
        self.totals: list[int] = []

    def log(self, step, total, values):
        self.folder.log(step, values)
        self.totals.append(total)
        if step == self.last:
            raise Interrupted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    architecture = ArchitectureConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64)
    network = build_causal_lm(architecture, TOKENIZER, seed=0)
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    return tmp_path


def rows_of(
    kind: str, prompts: list[str], answer: str = "13.50 please."
) -> list[dict[str, object]]:
    if kind == "sft":
        return [{"prompt": text, "completion": answer} for text in prompts]
    if kind == "kto":
        return [
            {"prompt": text, "completion": answer, "label": n % 2 == 0}
            for n, text in enumerate(prompts)
        ]
    return [{"prompt": text, "chosen": answer, "rejected": "Two lattes."} for text in prompts]


def trained(root: Path, kind: str, rows: list[dict[str, object]], *words: str, last: int = -1):
    """The stage's summary and monitor."""
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run, own = KINDS[kind]
    stage = "dpo" if kind == "kto" else kind
    settings = [f"model={root / 'policy'}", f"data={root / 'rows.jsonl'}", *own, *words]
    folder = StageDir(root / f"01-{kind}")
    folder.path.mkdir(exist_ok=True)
    monitor = Keeping(folder, last)
    counted: list[int] = []
    context = StageContext(
        name=kind,
        folder=folder,
        seed=0,
        monitor=monitor,
        artifacts={},
        store_url=f"sqlite:///{root / 'palate.db'}",
        project="r",
        left_out=counted.append,
    )
    summary = run(load_stage(stage, None, settings), context)
    return summary, monitor, counted


PROMPTS = [f"{n} lattes?" for n in range(18)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_counts_rows_and_max_updates_ends_training(root: Path, kind: str) -> None:
    words = ("held_out_fraction=0", "limit=6", "epochs=4", "max_updates=3")
    summary, monitor, _ = trained(root, kind, rows_of(kind, PROMPTS), *words)
    assert summary["rows"] == 6
    assert summary["updates"] == 3
    assert monitor.totals == [3, 3, 3]
    assert not any(name.startswith("held_out") for name in summary)


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_updates_than_the_passes_have_are_made_only_when_that_is_set(
    root: Path, kind: str
) -> None:
    words = ("held_out_fraction=0", "limit=8", "epochs=2", "max_updates=100")
    summary, _, _ = trained(root, kind, rows_of(kind, PROMPTS), *words)
    assert summary["updates"] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_rows_are_measured_before_first_and_after_last_and_never_trained_on(
    root: Path, kind: str
) -> None:
    words = ("held_out_fraction=0.3", "epochs=4", "max_updates=4", "evaluate_updates=2")
    summary, monitor, _ = trained(root, kind, rows_of(kind, PROMPTS), *words)
    lines = monitor.folder.metrics()
    name = "held_out/nll" if kind == "sft" else "held_out/loss"
    measured = {int(line["step"]): line[name] for line in lines if name in line}
    assert list(measured) == [0, 2, 4]
    assert summary[name] == pytest.approx(measured[4])
    assert measured[4] != measured[0]
    assert summary["rows"] + summary["held_out/rows"] == len(PROMPTS)
    assert summary["held_out/rows"] > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_holds_for_the_held_out_rows_as_well(root: Path, kind: str) -> None:
    words = ("held_out_fraction=0.4", "limit=3", "max_updates=1")
    summary, _, _ = trained(root, kind, rows_of(kind, PROMPTS), *words)
    assert (summary["rows"], summary["held_out/rows"]) == (3, 3)


def with_held_out_answers(kind: str, answer: str) -> tuple[list[dict[str, object]], int]:
    """Rows of which those that will be held out have another answer, and how many those are."""
    rows, number = [], 0
    for text in PROMPTS:
        (row,) = rows_of(kind, [text])
        (other,) = rows_of(kind, [text], answer)
        held = is_held_out(text)
        number += held
        rows.append(other if held else row)
    return rows, number


def is_held_out(text: str) -> bool:
    return bool(split_by_prompt(user_prompt(text).id, fraction=0.3, seed=0))


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_rows_that_are_all_too_long_are_left_out_and_stop_nothing(
    root: Path, kind: str
) -> None:
    rows, number = with_held_out_answers(kind, "latte " * 40)
    words = ("held_out_fraction=0.3", "max_response_tokens=20", "max_updates=1")
    summary, _, counted = trained(root, kind, rows, *words, "prompt.over_long=skip")
    assert summary["rows"] == len(PROMPTS) - number
    assert sum(counted) == number > 0
    assert not any(name.startswith("held_out") for name in summary)
    with pytest.raises(DataError, match="long"):
        trained(root, kind, rows, *words)


@pytest.mark.parametrize("kind", KINDS)
def test_training_rows_that_are_all_too_long_are_refused(root: Path, kind: str) -> None:
    rows = rows_of(kind, PROMPTS, "latte " * 40)
    words = ("held_out_fraction=0", "max_response_tokens=20", "prompt.over_long=skip")
    with pytest.raises(DataError, match="no rows that fit"):
        trained(root, kind, rows, *words)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_that_holds_rows_out_resumes_to_the_same_bits(root: Path, kind: str) -> None:
    words = ("held_out_fraction=0.3", "max_updates=4", "epochs=4", "checkpoint_updates=1")
    words = (*words, "evaluate_updates=2", "keep=best")
    rows = rows_of(kind, PROMPTS)
    with pytest.raises(Interrupted):
        trained(root, kind, rows, *words, last=STOPPED)
    resumed, monitor, _ = trained(root, kind, rows, *words)
    assert len(monitor.totals) < 5
    resumed_bits = (monitor.folder.path / "model" / "model.safetensors").read_bytes()
    monitor.folder.path.rename(root / "02-resumed")
    whole, monitor, _ = trained(root, kind, rows, *words)
    assert resumed == whole
    assert (monitor.folder.path / "model" / "model.safetensors").read_bytes() == resumed_bits
