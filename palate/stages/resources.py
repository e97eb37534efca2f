"""Seconds and peak memory of a stage, measured while it runs."""

import ctypes
import gc
import os
import threading
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Wall seconds, the processor's seconds over all cores, the highest resident set size seen and
    what was expected of it, in MiB.

    0 when nothing was expected.
    """

    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    predicted_memory_mib: float


def release_memory() -> None:
    """Give a finished stage's memory back to the system, so that the next one does not pay for it.

    glibc keeps what was freed; where there is no `malloc_trim` the system's allocator decides.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _cpu_seconds() -> float:
    """Of all threads, and of the processes that this one started and that have ended."""
    return sum(os.times()[:4])


class Stopwatch:
    """Context manager that samples this process's memory every 50 ms."""

    def __enter__(self) -> "Stopwatch":
        self._process = psutil.Process()
        self._peak = self._before = self._process.memory_info().rss
        self._expected = 0.0
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def expect(self, size: float) -> None:
        """Expect this many bytes on top of what the process held at the start."""
        self._expected = self._before + size

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return Usage(
            seconds=time.perf_counter() - self._start,
            cpu_seconds=_cpu_seconds() - self._cpu_start,
            peak_memory_mib=max(self._peak, self._process.memory_info().rss) / 2**20,
            predicted_memory_mib=self._expected / 2**20,
        )
