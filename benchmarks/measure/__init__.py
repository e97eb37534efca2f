"""What every benchmark here needs: the machine in a line, paired timings, peak memory."""

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import transformers

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def machine() -> str:
    """Processor, threads and versions."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return (
        f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} of "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Units per CPU second of two ways to do the same work, and how much faster the second is."""

    unit: str
    theirs: float
    ours: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.theirs:,.3g} against {self.ours:,.3g} {self.unit} per CPU second, "
            f"{self.ratio:.2f} times as fast ({self.low:.2f} to {self.high:.2f})"
        )


def paired(
    theirs: Callable[[], int], ours: Callable[[], int], *, repeats: int, unit: str = "tokens"
) -> Paired:
    """Medians of alternating runs; both sides return how many units they have worked through."""
    theirs(), ours()
    pairs = [(rate(theirs), rate(ours)) for _ in range(repeats)]
    ratios = [two / one for one, two in pairs]
    return Paired(
        unit=unit,
        theirs=statistics.median(one for one, _ in pairs),
        ours=statistics.median(two for _, two in pairs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
    )


def rate(work: Callable[[], int]) -> float:
    """Units per second of CPU time, which other programs disturb less than wall time."""
    start = time.process_time()
    return work() / (time.process_time() - start)


def peak_mebibytes(work: Callable[[], object]) -> float:
    """How far some work raises resident memory, in MiB; NaN where the system does not say."""
    if not RESET.exists():
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory freed earlier would hide what the work needs
    before = psutil.Process().memory_info().rss / 2**20
    RESET.write_text("5")  # the high-water mark starts again
    work()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10 - before
