"""Comparisons into a database and out of it: rows per second, peak memory, and whether old rows
cost anything.

python benchmarks/exchange.py [ROWS]: the default is 100,000 rows; each step is a process of its
own, so that its peak memory is its own.
"""

import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

NEW = 1_000


def write(path: Path, rows: range) -> None:
    """Pairs with margins and probabilities, all different."""
    with path.open("w", encoding="utf-8") as file:
        for i in rows:
            row = {
                "prompt": f"How do I cook dish number {i}?",
                "chosen": f"Take pot {i}, then stir for {i % 60} minutes. " * 4,
                "rejected": f"Dish {i}? No idea. " * 6,
                "margin": float(i % 4),
                "probability": 0.75,
            }
            file.write(json.dumps(row) + "\n")


def bring(source: Path, url: str) -> None:
    from palate.exchange.importing import import_file

    import_file(
        str(source), project="bench", url=url, kind="preferences", console=Console(quiet=True)
    )


def take(out: Path, url: str) -> None:
    from palate.exchange.exporting import Selection, export_project

    selection = Selection(project="bench")
    export_project(selection, format="graded", out=out, url=url, console=Console(quiet=True))


def _timed(step, path, url, sender) -> None:
    from palate.exchange import exporting, importing  # noqa: F401 - imports are not what is timed

    start = time.perf_counter()
    step(path, url)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send((time.perf_counter() - start, peak))


def measured(step, path: Path, url: str) -> tuple[float, float]:
    """(seconds, peak MiB) of a step in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_timed, args=(step, path, url, sender))
    process.start()
    result = receiver.recv()
    process.join()
    return result


def main() -> None:
    """Print one line per step."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{platform.machine()}, {os.cpu_count()} cores, {rows:,} comparisons")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'bench.db'}"
        write(folder / "all.jsonl", range(rows))
        write(folder / "new.jsonl", range(rows, rows + NEW))
        steps = (
            ("import into an empty project", bring, folder / "all.jsonl", rows),
            (f"import {NEW:,} new into it", bring, folder / "new.jsonl", NEW),
            ("export all", take, folder / "out.jsonl", rows + NEW),
        )
        for label, step, path, count in steps:
            seconds, peak = measured(step, path, url)
            print(f"{label}: {seconds:.1f} s, {count / seconds:,.0f} rows/s, peak {peak:.0f} MiB")
        size = (folder / "bench.db").stat().st_size / 2**20
        print(f"database: {size:.0f} MiB")
        with (folder / "out.jsonl").open() as file:
            assert sum(1 for _ in file) == rows + NEW


if __name__ == "__main__":
    main()
