"""Secrets are random, end, and are stored as hashes."""

import sqlite3
from pathlib import Path

from sqlalchemy import text

from palate.store.labelling import accounts
from tests.store.office import Office


def test_secrets_are_stored_as_hashes(office: Office, tmp_path: Path) -> None:
    with office.desk.writing() as connection:
        secret = accounts.issue(connection, "session", now=0, lifetime=10, person=None)
        assert accounts.token(connection, "session", secret, now=5) is not None
        assert accounts.token(connection, "session", secret, now=11) is None
        assert accounts.token(connection, "invitation", secret, now=5) is None
        stored = connection.execute(text("SELECT hash FROM tokens")).scalars().all()
    assert secret not in stored
    if office.url.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "palate.db") as connection:
            assert secret not in "\n".join(connection.iterdump())
