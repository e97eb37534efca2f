"""Make palate wrong, one line at a time, and see which test notices: `make mutants`.

Every mutation is made in a copy of the package, never in place, and judged by the tests that it
names. Verdicts are kept by what they depend on, so a run goes on where the last one stopped.
"""

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutants.mutation import MUTATIONS, PAGE, ROOT, Mutation, page

CPU_SECONDS = 300
"""What a trial may take: so many are no verdict."""
QUICKLY = (
    *("-x", "-q", "--tb=no", "--assert=plain"),
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception"),
)
KEPT = ROOT / ".mutants.jsonl"
PRELOADED = (
    *("torch", "peft", "scipy.stats", "scipy.optimize", "choix", "beartype", "jaxtyping"),
    *("transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama"),
    *("transformers.models.gpt2.modeling_gpt2", "transformers.models.gemma2.modeling_gemma2"),
)
"""What the tests need and no mutation changes: imported once, before forking."""


class Trial(NamedTuple):
    """Mutations to make (one; none to see that the tests pass) and the tests to run."""

    mutations: tuple[Mutation, ...]
    tests: tuple[str, ...]


class Verdict(NamedTuple):
    """What a trial depends on (a hash), and the first test that failed; empty when none did."""

    key: str
    what: str
    failed: str


class FirstFailure:
    """A plugin of pytest that remembers the first test that failed."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def key(trial: Trial) -> str:
    """A hash of the mutations, of the files that they change and of the tests' files."""
    digest = hashlib.sha256(repr([astuple(mutation) for mutation in trial.mutations]).encode())
    changed = [str(mutation.path) for mutation in trial.mutations]
    for file in [*changed, *(test.split("::")[0] for test in trial.tests)]:
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


def judged(trial: Trial) -> Verdict:
    """The verdict of the tests on a mutated copy; only ever called in a fresh fork."""
    before = key(trial)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in ("palate", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", root)
        for mutation in trial.mutations:
            mutation.apply(root)
        what = ", ".join(mutation.what for mutation in trial.mutations)
        return Verdict(before, what, first_failure(root, trial.tests))


def first_failure(root: Path, tests: Sequence[str]) -> str:
    """The first test that fails there; an import that breaks or the time limit is no verdict."""
    os.chdir(root)
    sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in [name for name in sys.modules if name.split(".")[0] in ("palate", "tests")]:
        del sys.modules[name]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGPROF, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    first = FirstFailure()
    code = pytest.main([*QUICKLY, *tests], plugins=[first])
    signal.setitimer(signal.ITIMER_PROF, 0)
    used = sys.modules["palate"].__file__
    assert used is not None
    assert root in Path(used).parents, f"the tests imported {used}, not the mutated copy"
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest {' '.join(tests)} ended with {code!r}: no verdict")
    return first.failed


def verdicts(trials: Sequence[Trial], jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come, each from a process of its own."""
    for module in PRELOADED:
        importlib.import_module(module)
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(judged, trials)


def kept() -> dict[str, str]:
    """Verdicts of earlier runs, by key."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.is_file() else []
    return {entry["key"]: entry["failed"] for entry in map(json.loads, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose description has all of them")
    parser.add_argument("--jobs", type=int, default=1, help="how many to judge at a time")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if all(word in m.what + m.file for word in options.words)]
    trials = {key(trial): trial for trial in (Trial((m,), m.tests) for m in chosen)}
    known = kept()
    pending = [trial for name, trial in trials.items() if name not in known]
    if pending:
        sound = Trial((), tuple(sorted({test for trial in pending for test in trial.tests})))
        for verdict in verdicts([sound], 1):
            assert not verdict.failed, f"without any mutation {verdict.failed} fails"
    for verdict in verdicts(pending, options.jobs):
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(verdict._asdict()) + "\n")
        print("killed  " if verdict.failed else "SURVIVED", verdict.what, flush=True)
    known = kept()
    if any(name not in known for name in trials):
        sys.exit("the source changed meanwhile: run again")
    failures = [known[name] for name in trials]
    if not options.words:
        PAGE.write_text(page(MUTATIONS, failures), encoding="utf-8")
    print(f"{sum(map(bool, failures))} of {len(failures)} killed")
    sys.exit(0 if all(failures) else 1)


if __name__ == "__main__":
    main()
