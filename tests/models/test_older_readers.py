"""Saved folders in transformers 4.57, in an environment of its own: the same logits."""

import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from palate.config.common import LoraConfig
from palate.config.stages import ArchitectureConfig
from palate.models.adapters import add_adapter
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import load_policy, save_policy

pytestmark = pytest.mark.slow

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
IDS = torch.arange(3, 73).reshape(2, 35)
READ = """
import sys, torch, transformers
assert transformers.__version__ == "4.57.3", transformers.__version__
for folder in sys.argv[1:]:
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = network(torch.arange(3, 73).reshape(2, 35)).logits
    torch.save(logits, f"{folder}/logits.pt")
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    """A Python that has transformers 4.57.3 and shares this one's torch."""
    folder = tmp_path_factory.mktemp("older") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "transformers==4.57.3"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"transformers 4.57.3 cannot be fetched: {done.stderr.strip()[-200:]}")
    # What the environment has comes first; torch alone is missing from it.
    here = {sysconfig.get_path("purelib"), str(Path(torch.__file__).parents[1])}
    own = next((folder / "lib").glob("python3*/site-packages"))
    (own / "shared.pth").write_text("\n".join(sorted(here)) + "\n")
    return python


def tiny(type: str = "llama", **extra):
    architecture = ArchitectureConfig(
        type=type, hidden_size=32, layers=2, heads=4, intermediate_size=64, context=64,
        extra=extra,
    )  # fmt: skip
    network = build_causal_lm(architecture, TOKENIZER, seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
    return network


def with_adapter(network, targets: str):
    add_adapter(network, LoraConfig(rank=2, targets=targets), name="policy", seed=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
    return network


def declared_tied(folder: Path):
    """A checkpoint whose two matrices differ while its config says that they are tied."""
    network = tiny(tie_word_embeddings=False)
    network.config.tie_word_embeddings = True
    network.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return load_policy(str(folder)).network


def test_an_older_reader_computes_the_same_logits(older, tmp_path):
    networks = {
        "tied": tiny(),
        "untied": tiny(tie_word_embeddings=False),
        "head": with_adapter(tiny(), "q_proj,lm_head"),
        "contradiction": declared_tied(tmp_path / "start"),
        "theta": tiny(rope_theta=1e6),
        "partial": tiny("stablelm", rope_theta=1e6),
        "neox": tiny("gpt_neox", rope_theta=1e6),
        "gemma3": tiny("gemma3_text", sliding_window=8),
    }
    for name, network in networks.items():
        save_policy(network, TOKENIZER, tmp_path / name, prompt_format="chat")
    folders = [str(tmp_path / name) for name in networks]
    subprocess.run([str(older), "-c", READ, *folders], check=True, cwd=tmp_path)
    for name in networks:
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        with torch.no_grad():
            here = plain(IDS).logits
        there = torch.load(tmp_path / name / "logits.pt")
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3, msg=lambda m, n=name: n + m)
