"""Opening a database: SQLite's settings, who may write when, and migrations."""

import errno
import os
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import ArgumentError, DatabaseError

from palate.store.errors import DataError
from palate.store.files import json_line

_SQLITE_SETTINGS = (
    "busy_timeout=5000",
    "journal_mode=WAL",
    "foreign_keys=ON",
    "synchronous=NORMAL",
)
_MIGRATION_LOCK = 7013_1001  # any number that no other user of the database server takes


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///file.db` or `postgresql+psycopg://...`, its tables up to date."""
    try:
        engine = create_engine(url, json_serializer=json_line)
    except (ArgumentError, ImportError) as error:
        raise DataError(
            f"not a database that can be opened ({error})",
            source=url,
            remedy="write sqlite:///palate.db, or install palate[postgres] for PostgreSQL",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "handle_error", _full_disk)
    try:
        _migrate(engine)
    except DatabaseError as error:
        raise DataError(
            f"cannot open the database ({error.orig})",
            source=engine.url.render_as_string(hide_password=True),
            remedy="check that it exists, is a database of palate's and may be written",
        ) from error
    return engine


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take SQLite's write lock at their begin: a transaction
    that reads first and writes later would fail instead of waiting for another writer."""
    return engine.execution_options(palate_begin="BEGIN IMMEDIATE")


def _configure_sqlite(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be in the way of _begin_sqlite
    cursor = connection.cursor()
    for setting in _SQLITE_SETTINGS:
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("palate_begin", "BEGIN"))


def _full_disk(context: ExceptionContext) -> OSError | None:
    """SQLite's word for a full disk becomes the system's: it is nothing about the database."""
    error = context.original_exception
    if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        database = context.engine.url.database if context.engine else ""
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), database)
    return None


def _migrate(engine: Engine) -> None:
    config = AlembicConfig()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _revision(connection) == scripts.get_current_head():
            return
    with for_writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        revision = _revision(connection)
        if revision and revision not in {script.revision for script in scripts.walk_revisions()}:
            raise DataError(
                f"its tables have revision {revision}, which this palate does not know",
                source=engine.url.render_as_string(hide_password=True),
                remedy="upgrade palate",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
