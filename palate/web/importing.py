"""What an uploaded file would bring into a project, and bringing it there."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from palate.config.exchange import Kind
from palate.exchange.importing import judged_rows
from palate.records import JudgedGroup
from palate.store import queries
from palate.store.errors import BadRows, DataError, Skipped
from palate.store.labelling import Desk
from palate.store.labelling.items import project_name
from palate.store.pseudonyms import BY_PERSON, is_pseudonym

_SHOWN = 3
_CHUNK = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a file holds: how much, said by whom, the first groups, and what cannot be used."""

    groups: int
    responses: int
    judges: dict[str, int]
    first: tuple[JudgedGroup, ...]
    bad: Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """How many records were new to the project."""

    groups: int
    judgements: int


def preview(path: Path, kind: Kind) -> Brought:
    """Read a whole file; a `DataError` says why nothing of it can be read."""
    bad = Skipped()
    groups = responses = 0
    judges: dict[str, int] = {}
    first: list[JudgedGroup] = []
    for row in _rows(path, kind, bad):
        groups += 1
        responses += row.group.k
        if len(first) < _SHOWN:
            first.append(row)
        for judgement in row.judgements:
            judges[judgement.judge] = judges.get(judgement.judge, 0) + 1
    return Brought(groups=groups, responses=responses, judges=judges, first=tuple(first), bad=bad)


def bring(desk: Desk, project: int, path: Path, kind: Kind) -> Added:
    """Add what a file holds; rows that cannot be used are left out, and what is there already stays
    as it is."""
    groups = judgements = 0
    rows = _rows(path, kind, Skipped())
    while chunk := list(islice(rows, _CHUNK)):
        with desk.writing() as connection:
            name = project_name(connection, project)
            groups += queries.insert_groups(connection, name, [row.group for row in chunk])
            said = [judgement for row in chunk for judgement in row.judgements]
            for start in range(0, len(said), _CHUNK):
                part = said[start : start + _CHUNK]
                judgements += queries.insert_judgements(connection, name, part, client_keys={})
    return Added(groups=groups, judgements=judgements)


def _rows(path: Path, kind: Kind, bad_rows: BadRows) -> Iterator[JudgedGroup]:
    """Rows in which nobody else speaks for a person of the app, or takes back what one said."""
    for row in judged_rows(str(path), kind, bad_rows=bad_rows):
        if any(judgement.supersedes for judgement in row.judgements):
            bad_rows(
                DataError(
                    f"takes a judgement about '{row.group.prompt.text[:60]}' back",
                    source=path.name,
                    field="supersedes",
                    remedy="import it with palate import, on the server",
                )
            )
        elif forged := [j.judge for j in row.judgements if _is_person(j.judge)]:
            bad_rows(
                DataError(
                    f"speaks for '{forged[0]}', who speak for themselves here",
                    source=path.name,
                    field="judge",
                    remedy="use a pseudonym, as exports do, or palate import on the server",
                )
            )
        else:
            yield row


def _is_person(judge: str) -> bool:
    return judge.startswith(BY_PERSON) and not is_pseudonym(judge)
