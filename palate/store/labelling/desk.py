"""One open database for many people at once."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection, event, insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError

from palate.store.connection import for_writing, open_engine
from palate.store.labelling.errors import Refused
from palate.store.schema import AuditRow, Body


class Desk:
    """A database that many threads read and write; what a write confirmed survives a power cut.

    `clock` gives the time in seconds since 1970.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self.clock = clock
        self._engine = open_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _write_through)
            self._engine.dispose()  # connections from before would not write through
        self._writer = for_writing(self._engine)
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A transaction that reads."""
        with _storable(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction that writes; it is durable when the block has ended.

        SQLite has one writer: threads queue for it here, in order, instead of polling its lock.
        """
        if self._engine.dialect.name == "sqlite":
            with _storable(), self._turn, self._writer.begin() as connection:
                yield connection
        else:
            with _storable(), self._writer.begin() as connection:
                yield connection


@contextmanager
def _storable() -> Generator[None]:
    """Refuses what a column cannot hold: PostgreSQL no NUL in a text, neither of them an integer of
    any size."""
    try:
        yield
    except (DataError, OverflowError) as error:
        raise Refused("not_storable") from error


def _write_through(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def audit(
    connection: Connection,
    action: str,
    *,
    at: float,
    project: int | None = None,
    person: int | None = None,
    detail: Body | None = None,
) -> None:
    """Note who did what."""
    connection.execute(
        insert(AuditRow).values(
            at=at, project_id=project, person_id=person, action=action, detail=detail or {}
        )
    )
