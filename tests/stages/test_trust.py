"""What people see of the trust record: a warning in the terminal, and a stage that goes on."""

import io
from pathlib import Path

from rich.console import Console

from palate.records.trust import TRUST_REMEDY, TrustCheck, TrustRecord
from palate.stages.pipeline import warn_of_misses
from palate.stages.progress import Voice
from palate.store.runs import TRUST, StageDir


def said(folder: StageDir) -> str:
    text = io.StringIO()
    log = folder.path.with_name("run.log")
    warn_of_misses("ppo", folder, Voice(Console(file=text, width=60), log))
    return text.getvalue()


def folder_with(path: Path, *values: float) -> StageDir:
    checks = tuple(
        TrustCheck(row="N3", claim="sampler equals scorer", value=value, gate=1e-4)
        for value in values
    )
    record = TrustRecord(step=0, precision="fp32", checks=checks, left_out="")
    folder = StageDir(path / "01-ppo")
    folder.write_json(TRUST, record.model_dump(mode="json"))
    return folder


def test_a_miss_is_said_aloud_with_what_to_do(tmp_path: Path) -> None:
    assert said(folder_with(tmp_path, 1e-6, 0.5)) == (
        "ppo: WARNING: N3: sampler equals scorer: off by 0.5, at most 0.0001 is rounding. "
        f"{TRUST_REMEDY}\n"
    )


def test_what_is_not_a_number_is_a_miss_and_survives_the_file(tmp_path: Path) -> None:
    assert "off by nan" in said(folder_with(tmp_path, float("nan")))


def test_checks_that_hold_and_stages_without_any_are_silent(tmp_path: Path) -> None:
    assert said(folder_with(tmp_path, 1e-6)) == ""
    assert said(StageDir(tmp_path / "02-sft")) == ""
