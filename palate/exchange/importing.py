"""`import`: files and Hub datasets into a project of the database."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar, cast

from rich.console import Console
from rich.text import Text

from palate.config.exchange import Kind, OnBadRow
from palate.records import Group, JudgedGroup, unwritable
from palate.store import formats
from palate.store.database import Store
from palate.store.errors import BadRows, DataError, Skipped, refuse, shortened
from palate.store.formats import AS_IT_IS, Reading, listed

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
    reading: Reading = AS_IT_IS,
) -> None:
    """Stream a file or Hub dataset into a project; what is there already is left alone."""
    groups = judgements = read = 0
    skipped = Skipped()
    rows = judged_rows(
        source,
        kind,
        reading,
        bad_rows=skipped if bad_rows == "skip" else refuse,
    )
    with Store(url) as store, console.status(f"importing {source}") as status:
        for chunk in chunks(rows):
            groups += store.add_groups(project, [row.group for row in chunk])
            said = (judgement for row in chunk for judgement in row.judgements)
            judgements += store.add_judgements(project, said)
            status.update(f"importing {source}: {groups} groups, {judgements} judgements")
            read += len(chunk)
    _report(skipped, source, kind, reading, console)
    if not read:
        raise DataError("there is no row to import in it", source=source, remedy=_NO_ROWS)
    console.print(f"{project}: {groups} new groups, {judgements} new judgements from {source}")


def preview_file(source: str, *, kind: Kind, console: Console, reading: Reading = AS_IT_IS) -> None:
    """Read a whole file or Hub dataset, and print what an import would bring and what is wrong."""
    skipped = Skipped()
    rows = judged_rows(source, kind, reading, bad_rows=skipped)
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
    if first:
        cut = _cut(first.model_dump(mode="json", exclude_defaults=True))
        plain = json.dumps(cut, ensure_ascii=False)
        _say(f"the first: {shortened(plain, 4_000)}", console)
    elif not skipped.count:
        _say(f"{source}: there is no row to import in it. {_NO_ROWS}", console, style="red")
    _report(skipped, source, kind, reading, console)


_NO_ROWS = "check that it is the right file, and that it is not empty"


def _cut(value: object) -> object:
    """A plain value with the beginnings of its texts; JSON escapes what is in them."""
    if isinstance(value, dict):
        return {name: _cut(inner) for name, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_cut(item) for item in cast("list[object]", value)]
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]}... ({len(value):,} characters)"
    return value


_SHOWN = 300


def _report(skipped: Skipped, source: str, kind: Kind, reading: Reading, console: Console) -> None:
    record = Group if kind == "groups" else JudgedGroup
    unread = formats.unread_fields(record, source, reading)
    if unread:
        _say(f"fields that are not read: {listed(unread)}", console)
    for mistake in skipped.kinds.values():
        more = f" ({mistake.count:,} rows like it)" if mistake.count > 1 else ""
        _say(f"{mistake.first}{more}", console, style="red")
    if skipped.count:
        _say(f"{skipped.count:,} rows cannot be used", console, style="red")


def _say(text: str, console: Console, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)


def judged_rows(
    source: str, kind: Kind, reading: Reading = AS_IT_IS, *, bad_rows: BadRows
) -> Iterator[JudgedGroup]:
    """What a file holds; rows that name no judge are of the judge `import:<file name>`.

    Stages read every text that a policy wrote; what a database cannot hold does not enter it.
    """
    for row in _judged(source, kind, reading, bad_rows):
        bad = unwritable(row.model_dump(mode="json"))
        if bad is None:
            yield row
        else:
            place = f"{bad.problem}, in a group about '{row.group.prompt.text[:60]}'"
            remedy = "take the character out, or leave the row out"
            bad_rows(DataError(place, source=source, field=bad.at, remedy=remedy))


def _judged(source: str, kind: Kind, reading: Reading, bad_rows: BadRows) -> Iterator[JudgedGroup]:
    if kind == "groups":
        groups = formats.read_groups(source, reading, bad_rows=bad_rows)
        return (JudgedGroup(group=group, judgements=()) for group in groups)
    judge = f"import:{Path(source).name}"
    return formats.read_judged(source, reading, judge=judge, bad_rows=bad_rows)


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most 2,000 items."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
