"""Signatures with tensor axes are checked in every test; real data, PostgreSQL and a browser are
found, or their tests are skipped loudly."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from tests.databases import postgres_database, postgres_server

install_import_hook(["palate.maths", "palate.algorithms", "palate.models"], "beartype.beartype")
torch.set_num_threads(1)

DATA = Path(os.environ.get("PALATE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data sets; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set PALATE_DATA to the folder that holds it")
    return DATA


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: every test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'palate.db'}"
        return
    with postgres_database(request.getfixturevalue("postgres")) as database:
        yield database
