"""`palate verify`: the proofs on this machine, as a table and as JSON."""

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from palate import __version__
from palate.algorithms.onpolicy import Algorithm
from palate.config.checks import check_known
from palate.store.files import write_text
from palate.verify.catalog import QUICK, SLOW
from palate.verify.checks import Check, Result, prove
from palate.verify.own import own_check

_LABELS = {"tv": "TV", "kl": "KL", "gap": "J gap"}
_LEGEND = (
    "TV, KL: to the optimum (KL in nats), worst prompt. J: E[r] - beta KL(policy || reference). "
    "identity: |J(pi*) - J(pi) - beta KL(pi || pi*)|. logged: the last step's logged reward "
    "against the exact J. Rows: see docs/verify.md."
)


def run(
    names: Sequence[str],
    *,
    slow: bool,
    seed: int,
    algorithm: str,
    json_file: Path | None,
    console: Console,
) -> bool:
    """Run the named checks, or all quick ones (with `slow`, all); True when every gate holds."""
    results: list[Result] = []
    checks = chosen(names, slow=slow, algorithm=algorithm)
    with console.status("") as status:
        for number, check in enumerate(checks, start=1):
            status.update(f"{number} of {len(checks)}: {check.name}")
            results.append(prove(check, seed=seed))
    console.print(as_table(results))
    console.print(Text(_LEGEND, "dim"))
    missed = [result.name for result in results if not result.passed]
    seconds = sum(result.seconds for result in results)
    verdict = f"[red]missed: {', '.join(missed)}" if missed else "[green]every gate holds"
    console.print(f"[bold]{verdict}[/][/] ({len(results)} checks, seed {seed}, {seconds:.0f} s)")
    if json_file:
        write_text(json_file, as_json(results, seed=seed))
    return not missed


def chosen(names: Sequence[str], *, slow: bool, algorithm: str) -> list[Check]:
    """The checks to run; an algorithm comes first, and alone unless others are named."""
    every = {check.name: check for check in (*QUICK, *SLOW)}
    check_known(names)
    own = [own_check(algorithm, load_algorithm(algorithm))] if algorithm else []
    if names:
        return own + [every[name] for name in names]
    return own or list(every.values() if slow else QUICK)


def load_algorithm(spec: str) -> Algorithm:
    """The `Algorithm` that `module:NAME` names; modules of the current folder are found."""
    module, _, name = spec.partition(":")
    remedy = "Remedy: write module:NAME, where NAME = Algorithm(prepare=..., loss=...)"
    sys.path.insert(0, "")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{spec}: {error} here or among the installed ones. {remedy}") from error
    finally:
        sys.path.remove("")
    if not isinstance(found, Algorithm):
        raise ValueError(f"{spec} is no palate.algorithms.onpolicy.Algorithm. {remedy}")
    return found


def as_table(results: Sequence[Result]) -> Table:
    """One section per check: its claim, and one line per measure."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 1, 0))
    table.add_column("check: what it optimizes -> where that leads", ratio=1)
    table.add_column("measure")
    for heading in ("reached", "gate", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for result in results:
        claim = Text.assemble(
            (result.name, "bold"),
            (f"  {result.row}\n", "dim"),
            result.objective,
            (f"\n-> {result.optimum}", "cyan"),
        )
        table.add_row(
            claim,
            "\n".join(_LABELS.get(name, name) for name in result.gates),
            Text("\n").join(_value(result, name) for name in result.gates),
            "\n".join(str(gate) for gate in result.gates.values()),
            f"{result.seconds:.1f}",
            Text("holds", "green") if result.passed else Text("misses", "bold red"),
        )
    return table


def as_json(results: Sequence[Result], *, seed: int) -> str:
    """All numbers, with the versions that they were reached with."""
    document = {
        "palate": __version__,
        "torch": torch.__version__,
        "seed": seed,
        "passed": all(result.passed for result in results),
        "checks": [
            {**result.model_dump(mode="json"), "passed": result.passed} for result in results
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def _value(result: Result, measure: str) -> Text:
    style = "bold red" if measure in result.missed else ""
    return Text(f"{result.reached[measure]:.2g}", style)
