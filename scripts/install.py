"""Installation of packages into .venv, with progress and without pip's own pages of output.

    python scripts/install.py "what it is for" PIP_ARGUMENTS...

What pip says goes to .venv/install.log; its errors are shown when it fails. Uses the standard
library alone: nothing is installed when it runs.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
PIP = (
    *("-m", "pip", "install", "--no-compile", "--disable-pip-version-check"),
    *("--progress-bar", "off", "--constraint", str(ROOT / "constraints.txt")),
)
"""Modules are compiled when they are imported first: most never are."""

FOUND = ("Collecting ", "Processing ", "Requirement already satisfied: ")


def main() -> int:
    """Install, and say how it ended; the exit code is pip's."""
    what, *arguments = sys.argv[1:]
    log = Path(sys.prefix, "install.log")
    begun = time.monotonic()
    print(f"{what}: installing into {os.path.relpath(sys.prefix)} ...", flush=True)
    pip = subprocess.Popen(
        [sys.executable, *PIP, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert pip.stdout is not None
    with pip, log.open("a", encoding="utf-8") as file:
        errors = [line for line in followed(pip.stdout, file, begun) if line.startswith("ERROR")]
    if pip.returncode:
        print(f"{what}: pip failed; all that it said is in {log}", *errors, sep="\n", end="")
    else:
        print(f"{what}: ready after {time.monotonic() - begun:.0f} s")
    return pip.returncode


def followed(lines: Iterable[str], file: IO[str], begun: float) -> Iterable[str]:
    """The lines, each written to a file, while a terminal sees how far they are."""
    found, state = 0, "asking for packages"
    for line in lines:
        file.write(line)
        if line.startswith(FOUND):
            found += 1
            state = f"{found} packages found"
        elif line.startswith("Installing collected packages"):
            state = f"unpacking {line.count(',') + 1} packages"
        show(state, begun)
        yield line
    show("", begun)


def show(text: str, begun: float) -> None:
    """One line of a terminal, written over the one before; nothing where there is no terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {text}, {time.monotonic() - begun:.0f} s" if text else "\r\033[K", end="")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
