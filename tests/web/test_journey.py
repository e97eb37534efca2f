"""From `palate sample` to a reward model of one's own clicks, as docs/label.md says it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from transformers import AutoModelForSequenceClassification

from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.store.database import Store

PROMPTS = 6


def palate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "palate", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def clicked(folder: Path, context: BrowserContext) -> None:
    """Make the first account at the address that `palate label` prints, and answer everything."""
    server = subprocess.Popen(
        [sys.executable, "-m", "palate", "label", "--project", "mine", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = re.search(r"http\S+", server.stdout.readline())
        assert address
        page = context.new_page()
        page.goto(address[0])
        page.get_by_label("Name").fill("olga")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Create the account").click()
        page.get_by_role("link", name="Set up mine").click()
        page.get_by_role("button", name="Save and begin").click()
        for left in range(PROMPTS, 0, -1):
            expect(page.get_by_text(f"{left} left")).to_be_visible()
            page.locator("input[name=choice]").first.check(force=True)
            page.locator("#send").click()
        expect(page.get_by_role("heading", name="All done")).to_be_visible()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


@pytest.mark.slow  # four processes and a browser
def test_a_person_trains_a_reward_model_on_their_own_clicks(
    tmp_path: Path, context: BrowserContext
) -> None:
    tokenizer = train_tokenizer(["Two lattes are 13.50."] * 20, vocabulary=300, chat="palate")
    size = ArchitectureConfig(hidden_size=32, layers=2, heads=4, intermediate_size=64, context=128)
    network = build_causal_lm(size, tokenizer, seed=0)
    save_policy(network, tokenizer, tmp_path / "policy", prompt_format="chat")
    rows = [{"prompt": f"Question {i}?"} for i in range(PROMPTS)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))

    data = ("prompts=prompts.jsonl", "k=2", "sampling.max_tokens=12", "--run", "mine")
    sampled = palate(tmp_path, "sample", 'models=["policy"]', *data)
    assert sampled.returncode == 0, sampled.stderr
    clicked(tmp_path, context)
    with Store(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        said = list(store.judgements("mine"))
    assert [judgement.judge for judgement in said] == ["person:olga"] * PROMPTS
    assert all(judgement.verdict.chosen == judgement.order[0] for judgement in said)

    words = ("data=project:mine/people", "model=policy", "epochs=1", "held_out_fraction=0")
    trained = palate(tmp_path, "reward", *words, "--run", "mine")
    assert trained.returncode == 0, trained.stderr
    (folder,) = (tmp_path / "runs" / "mine").glob("*-reward")
    AutoModelForSequenceClassification.from_pretrained(folder / "model")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert lines, trained.stdout
