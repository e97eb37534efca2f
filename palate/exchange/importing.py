"""`import`: files and Hub datasets into a project of the database."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from palate.config.exchange import Kind, OnBadRow
from palate.records import Group, JudgedGroup
from palate.store import formats
from palate.store.database import Store
from palate.store.errors import BadRows, DataError, Skipped, refuse

_CHUNK = 2_000
T = TypeVar("T")


def import_file(
    source: str,
    *,
    project: str,
    url: str,
    kind: Kind,
    console: Console,
    bad_rows: OnBadRow = "refuse",
) -> None:
    """Stream a file or Hub dataset into a project; what is there already is left alone."""
    groups = judgements = read = 0
    skipped = Skipped()
    rows = judged_rows(source, kind, bad_rows=skipped if bad_rows == "skip" else refuse)
    with Store(url) as store, console.status(f"importing {source}") as status:
        for chunk in chunks(rows):
            groups += store.add_groups(project, [row.group for row in chunk])
            said = (judgement for row in chunk for judgement in row.judgements)
            judgements += store.add_judgements(project, said)
            status.update(f"importing {source}: {groups} groups, {judgements} judgements")
            read += len(chunk)
    _report(skipped, console)
    if not read:
        raise DataError(
            "there is no row to import in it",
            source=source,
            remedy=f"check the file, and that it holds {kind} (--kind)",
        )
    console.print(f"{project}: {groups} new groups, {judgements} new judgements from {source}")


def preview_file(source: str, *, kind: Kind, console: Console) -> None:
    """Read a whole file or Hub dataset, and print what an import would bring and what is wrong."""
    skipped = Skipped()
    rows = judged_rows(source, kind, bad_rows=skipped)
    first = next(rows, None)
    groups = responses = 0
    judges: dict[str, int] = {}
    for row in chain([first] if first else [], rows):
        groups += 1
        responses += row.group.k
        for judgement in row.judgements:
            judges[judgement.judge] = judges.get(judgement.judge, 0) + 1
    console.print(f"{source}: {groups} groups of {responses} responses")
    for judge, count in judges.items():
        console.print(f"  {count} judgements of {judge}", markup=False)
    unread = formats.unread_fields(Group if kind == "groups" else JudgedGroup, source)
    if unread:
        console.print(f"fields that are not read: {', '.join(unread)}", markup=False)
    if first:
        console.print(f"the first: {first.model_dump_json(exclude_defaults=True)}", markup=False)
    _report(skipped, console)


def _report(skipped: Skipped, console: Console) -> None:
    for error in skipped.first:
        console.print(str(error), style="red", markup=False)
    if skipped.count:
        console.print(f"{skipped.count} rows cannot be used", style="red")


def judged_rows(source: str, kind: Kind, *, bad_rows: BadRows) -> Iterator[JudgedGroup]:
    """What a file holds; rows that name no judge are of the judge `import:<file name>`."""
    if kind == "groups":
        groups = formats.read_groups(source, bad_rows=bad_rows)
        return (JudgedGroup(group=group, judgements=()) for group in groups)
    return formats.read_judged(source, judge=f"import:{Path(source).name}", bad_rows=bad_rows)


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most 2,000 items."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
