"""`palate seeds`: which runs may be combined, and what comes out."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.evaluation.seeds import SeveralSeeds
from palate.stages import seeds
from palate.store.errors import DataError
from palate.store.runs import RunDir
from tests.evaluation.evaluations import evaluation


def finished_run(root: Path, name: str, *, seed: int, rate: float, coef: float = 0.1) -> None:
    run = RunDir(root / "runs", name)
    configs = {
        "ppo": {"kl": {"coef": coef}, "seed": seed},
        "evaluate": {},
        "report": {"title": name},
    }
    for number, (stage, config) in enumerate(configs.items(), start=1):
        folder = run.stage(number, stage)
        folder.write_config(json.dumps(config))
        if stage == "evaluate":
            folder.write_json("evaluation.json", evaluation(seed, ppo=rate).model_dump(mode="json"))
        folder.finish(
            stage=stage, name=stage, seed=seed, fingerprint="f", inputs={"a.csv": "1"}, summary={}
        )


def combine(root: Path, *names: str) -> SeveralSeeds:
    console = Console(file=(root / "log").open("w"), width=200)
    seeds.run(names, root=root, json_file=root / "out.json", console=console)
    return SeveralSeeds.model_validate_json((root / "out.json").read_bytes())


def test_runs_that_differ_in_their_seeds_are_combined(tmp_path: Path) -> None:
    for seed, rate in enumerate((0.6, 0.7, 0.8)):
        finished_run(tmp_path, f"r{seed}", seed=seed, rate=rate)
    several = combine(tmp_path, "r0", str(tmp_path / "runs" / "r1"), "r2")
    assert several.methods[1].win_rates[0].spread.values == (0.6, 0.7, 0.8)
    assert several.methods[1].win_rates[0].spread.deviation == pytest.approx(0.1)


def test_runs_of_different_recipes_are_refused_with_what_differs(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", seed=0, rate=0.6)
    finished_run(tmp_path, "b", seed=1, rate=0.6, coef=0.2)
    with pytest.raises(DataError, match=r"runs/b: not the recipe of .*a: ppo.kl.coef is 0.2 here"):
        combine(tmp_path, "a", "b")


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", seed=0, rate=0.6)
    finished_run(tmp_path, "b", seed=0, rate=0.6)
    with pytest.raises(DataError, match=r"runs/b: has the seed of .*runs/a"):
        combine(tmp_path, "a", "b")


def test_one_run_and_no_run_are_refused(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", seed=0, rate=0.6)
    with pytest.raises(ValueError, match="two runs or more"):
        combine(tmp_path, "a")
    with pytest.raises(DataError, match="no run is there"):
        combine(tmp_path, "a", "b")
