"""The shipped loops reach closed forms, and a broken algorithm does not pass."""

import json

import pytest
from rich.console import Console

from palate.stages import verify
from palate.verify.catalog import QUICK, SLOW
from palate.verify.checks import below, between

QUIET = Console(quiet=True)


def run(names, **options):
    settings = {"slow": False, "seed": 0, "algorithm": "", "json_file": None} | options
    return verify.run(names, console=QUIET, **settings)


@pytest.mark.parametrize("name", ["llama-normalized", "gpt2-normalized", "best-of-n"])
def test_cheap_checks_hold(name):
    assert run([name])


def test_a_measure_that_is_not_a_number_is_outside_every_gate():
    assert not below(1.0).admits(float("nan"))
    assert not between(0.0, 1.0).admits(float("nan"))
    assert between(0.0, 1.0).admits(1.0)


def test_results_are_written_as_json(tmp_path):
    file = tmp_path / "out.json"
    assert run(["best-of-n"], json_file=file)
    assert json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.name)
def test_every_quick_check_holds_on_three_seeds(check, seed):
    assert run([check.name], seed=seed)


@pytest.mark.slow  # transformers are trained
@pytest.mark.parametrize("check", SLOW, ids=lambda check: check.name)
def test_every_slow_check_holds(check):
    assert run([check.name], seed=0)
