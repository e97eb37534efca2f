"""Signatures with tensor axes are checked in every test; real data is found, or skipped loudly."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook(["palate.maths", "palate.algorithms", "palate.models"], "beartype.beartype")
torch.set_num_threads(1)

DATA = Path(os.environ.get("PALATE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data sets; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set PALATE_DATA to the folder that holds it")
    return DATA
