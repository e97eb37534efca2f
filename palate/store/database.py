"""Groups and judgements in a database: append-only, idempotent by content, streaming."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple, Self, TypeVar

from sqlalchemy import Connection

from palate.records import Group, Judgement
from palate.store import queries
from palate.store.connection import for_writing, open_engine
from palate.store.pseudonyms import Naming, pseudonym
from palate.store.schema import GroupRow, JudgementRow

_CHUNK = 400
"""Records in one transaction and in one page: SQLite may refuse more than 999 variables."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much a project holds; superseded judgements do not count."""

    prompts: int
    groups: int
    responses: int
    judgements: int


class Judged(NamedTuple):
    """How many judgements of a judge are in force, and when the first and the last were added."""

    judgements: int
    first: datetime
    last: datetime


class Store:
    """A database of projects, at `sqlite:///palate.db` or a PostgreSQL URL.

    Opening creates or migrates it. Writers commit every few hundred records and may be interrupted
    anywhere: adding the same content again adds what is missing. Readers see what was there when
    they began, hold no lock while their caller works, and need memory for one page.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._writer = for_writing(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def add_groups(self, project: str, groups: Iterable[Group]) -> int:
        """Add groups and count the new ones; a group whose id is there already stays as it is."""
        new = 0
        for chunk in _chunks(groups):
            with self._writer.begin() as connection:
                new += queries.insert_groups(connection, project, chunk)
        return new

    def add_judgements(self, project: str, judgements: Iterable[Judgement]) -> int:
        """Add judgements about groups of the project and count the new ones."""
        new = 0
        for chunk in _chunks(judgements):
            with self._writer.begin() as connection:
                new += queries.insert_judgements(connection, project, chunk, client_keys={})
        return new

    def groups(self, project: str) -> Iterator[Group]:
        """The groups of a project in the order in which they were added."""
        return self._paged(project, GroupRow, queries.group_page)

    def judgements(self, project: str) -> Iterator[Judgement]:
        """The judgements of a project in the order in which they were added, superseded ones left
        out."""
        return self._paged(project, JudgementRow, queries.judgement_page)

    def judged_groups(self, project: str) -> Iterator[tuple[Group, tuple[Judgement, ...]]]:
        """The groups that were judged, in order, each with its judgements in order."""
        pages = self._paged(project, GroupRow, queries.judged_page)
        return ((group, judgements) for group, judgements in pages if judgements)

    def judges(self, project: str) -> dict[str, Judged]:
        """Who judged the project's groups, by name in order of the alphabet."""
        with self._engine.connect() as connection:
            rows = queries.judges(connection, queries.project_id(connection, project))
            return {name: Judged(count, first, last) for name, count, first, last in rows}

    def pseudonyms(self, project: str) -> Naming:
        """What the project's judges and authors are called where people have pseudonyms."""
        with self._engine.connect() as connection:
            key = queries.pseudonym_key(connection, queries.project_id(connection, project))
        return partial(pseudonym, key=key)

    def counts(self, project: str) -> Counts:
        """How much a project holds."""
        with self._engine.connect() as connection:
            id = queries.project_id(connection, project)
            return Counts(
                prompts=queries.count_prompts(connection, id),
                groups=queries.count_groups(connection, id),
                responses=queries.count_responses(connection, id),
                judgements=queries.count_judgements(connection, id),
            )

    def _paged(
        self,
        project: str,
        table: type[GroupRow] | type[JudgementRow],
        page: Callable[[Connection, int, int, int], Sequence[T]],
    ) -> Iterator[T]:
        with self._engine.connect() as connection:
            id = queries.project_id(connection, project)
            last = queries.last_position(connection, table, id)
        for after in range(0, last, _CHUNK):
            with self._engine.connect() as connection:
                rows = page(connection, id, after, min(after + _CHUNK, last))
            yield from rows


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
