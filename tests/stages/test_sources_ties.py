"""Data that says nothing is refused before a model trains on it."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from palate.stages import sources
from palate.stages.context import StageContext
from palate.stages.progress import StageMonitor, Voice
from palate.store.errors import DataError
from palate.store.runs import StageDir


@pytest.mark.parametrize(("last", "refused"), [(0.5, True), (0.6, False)])
def test_preferences_that_are_all_ties_are_refused(
    tmp_path: Path, last: float, refused: bool
) -> None:
    rows = [
        {"prompt": str(n), "chosen": "a", "rejected": "b", "probability": p}
        for n, p in enumerate((0.5, 0.5, last))
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = StageDir(tmp_path / "01-dpo")
    context = StageContext(
        name="dpo",
        folder=folder,
        seed=0,
        monitor=StageMonitor("dpo", folder, Voice(Console(quiet=True), tmp_path / "run.log")),
        artifacts={},
        store_url="sqlite://",
        project="r",
    )
    if refused:
        with pytest.raises(DataError, match=r"p.jsonl: holds nothing but ties.*Remedy"):
            sources.preferences(context, str(tmp_path / "p.jsonl"), held_out_fraction=0)
    else:
        train, _ = sources.preferences(context, str(tmp_path / "p.jsonl"), held_out_fraction=0)
        assert len(train) == 3
