"""This machine: versions, device, memory, disk, the database, and one training step for real."""

import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
import transformers

from palate.algorithms import sft
from palate.batches.padding import response_mask
from palate.config.common import OptimizerConfig, PromptConfig
from palate.config.load import database_url
from palate.config.stages import ArchitectureConfig
from palate.interfaces import Loss, Outputs
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import encoder_of, placed
from palate.models.precision import autocast, has_fast_bf16, pick_device
from palate.models.roles import PlainPolicyRole
from palate.stages.doctor.verdicts import (
    Exam,
    Finding,
    attempt,
    counted,
    in_bytes,
    ok,
    problem,
    warning,
)
from palate.store.database import Store
from palate.training.learner import LocalLearner

_LITTLE_DISK = 2 * 2**30
_TINY = ArchitectureConfig(
    hidden_size=32, layers=2, heads=2, intermediate_size=64, context=64, vocabulary=280
)
_TEXTS = ("A small cafe by the sea.", "It opens at nine and closes at five.") * 2


def machine(root: Path) -> Exam[None]:
    """Whether palate can work here, with runs and database below `root`."""
    yield ok(
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
    device = pick_device("auto")
    yield _device(device)
    yield ok(f"{counted(psutil.cpu_count() or 1, 'core')}, torch uses {torch.get_num_threads()}")
    yield ok(f"{in_bytes(free_memory(device))} of memory free on {device}")
    yield from attempt(_disk(root))
    yield from attempt(_database(root))
    yield _training_step(device)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated where a stage computes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def free_disk(root: Path) -> int:
    """Bytes that can still be written below a folder, which need not exist yet."""
    return shutil.disk_usage(_existing(root)).free


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _device(device: torch.device) -> Finding:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    what = f"device {device} ({name})" if name else f"device {device}"
    if has_fast_bf16(device):
        return ok(f'{what}: fast bf16, which precision = "auto" uses')
    return ok(f'{what}: no fast bf16, so precision = "auto" computes in fp32')


def _disk(root: Path) -> Exam[None]:
    free = free_disk(root)
    text = f"{in_bytes(free)} of disk free for {root / 'runs'}"
    if free < _LITTLE_DISK:
        yield warning(
            text, "checkpoints take about 40 bytes per parameter: free some, or use --root"
        )
    else:
        yield ok(text)


def _database(root: Path) -> Exam[None]:
    """Open the database of this root, or a new one beside where it will be."""
    path = root / "palate.db"
    if not (url := database_url(root)).startswith("sqlite:"):
        Store(url).close()
        yield ok("the database that PALATE_DATABASE names opens")
        return
    if path.is_file():
        Store(f"sqlite:///{path}").close()
        yield ok(f"database {path} opens")
        return
    with tempfile.TemporaryDirectory(dir=_existing(root)) as folder:
        Store(f"sqlite:///{folder}/palate.db").close()
    yield ok(f"database: {path} does not exist yet, and one can be made there")


def _training_step(device: torch.device) -> Finding:
    """A tiny model takes one step on the device that stages will use; its loss has to fall."""
    begun = time.perf_counter()
    try:
        before, after = trained_nll(device)
    except RuntimeError as error:  # what torch raises for drivers, kernels and memory
        return problem(
            f"a tiny model could not train on {device}: {error}",
            'check driver and torch build, or set compute.device = "cpu"',
        )
    seconds = time.perf_counter() - begun
    text = f"a tiny model trained one step in {seconds:.1f} s: loss {before:.3f} -> {after:.3f}"
    if after < before:
        return ok(text)
    return problem(f"{text}, which is no progress", "check the torch build of this machine")


def trained_nll(device: torch.device) -> tuple[float, float]:
    """Mean negative log-likelihood (nats per token) of a tiny model before and after one update."""
    tokenizer = train_tokenizer(_TEXTS, vocabulary=_TINY.vocabulary, chat="palate")
    network = placed(build_causal_lm(_TINY, tokenizer, seed=0), device)
    encoder = encoder_of(network, tokenizer, PromptConfig())
    rows = [encoder.encode_text(text) for text in _TEXTS]
    role = PlainPolicyRole(
        network, layout="rows", temperature=1.0, scope=lambda: autocast(device, "auto")
    )
    learner = LocalLearner(role, OptimizerConfig(lr=1e-3), total_updates=2, budget=1024)

    def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
        mask = response_mask([rows[i] for i in indices]).to(device)
        return sft.loss(outputs, mask, reduction="token_mean")

    first = learner.update(rows, loss).metrics.values()["sft/nll"]
    return first, learner.update(rows, loss).metrics.values()["sft/nll"]
