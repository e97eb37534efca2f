"""`import` and `export`: between files (or Hub names) and a project of the database."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from rich.console import Console

from palate.feedback.aggregate import settled
from palate.records import (
    Choice,
    Group,
    Judgement,
    PreferenceGroup,
    Tie,
    Unpaired,
)
from palate.store import formats
from palate.store.database import Store
from palate.store.formats import Row

Kind = Literal["groups", "preferences"]
Format = Literal[
    "preference",
    "graded",
    "prompt-completion",
    "prompt-only",
    "unpaired",
    "ranking",
    "groups",
    "preferences",
]
_CHUNK = 2_000
T = TypeVar("T")


def import_file(source: str, *, project: str, url: str, kind: Kind, console: Console) -> None:
    """Stream a file or Hub dataset into a project; what is there already is left alone."""
    groups = judgements = 0
    with Store(url) as store, console.status(f"importing {source}") as status:
        if kind == "groups":
            for chunk in chunks(formats.read_groups(source)):
                groups += store.add_groups(project, chunk)
                status.update(f"importing {source}: {groups} groups")
        else:
            for chunk in chunks(formats.read_preferences(source)):
                groups += store.add_groups(project, [row.group for row in chunk])
                said = [judgement for row in chunk for judgement in as_judgements(row, source)]
                judgements += store.add_judgements(project, said)
                status.update(f"importing {source}: {groups} groups, {judgements} judgements")
    console.print(f"{project}: {groups} new groups, {judgements} new judgements from {source}")


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most 2,000 items: what one transaction takes."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def as_judgements(row: PreferenceGroup, source: str) -> list[Judgement]:
    """What a file says about a group, as events of the judge `import:<file name>`."""
    judge = f"import:{Path(source).name}"
    return [
        Judgement(
            group_id=row.group.id,
            judge=judge,
            verdict=Tie()
            if p.probability == 0.5
            else Choice(chosen=p.winner, strength=min(4, 1 + max(0, round(p.margin)))),
            order=(p.winner, p.loser),
        )
        for p in row.preferences
    ]


def export_project(project: str, *, format: Format, out: Path, url: str, console: Console) -> None:
    """Write a project in a format that trainers read; equal content gives equal bytes."""
    with Store(url) as store:
        if format in ("groups", "prompt-only"):
            rows = _group_rows(store.groups(project), format)
        else:
            rows = _judged_rows(store, project, format)
        count = formats.write_rows(out, rows)
    console.print(f"{count} rows of {project} written to {out}")


def _group_rows(groups: Iterable[Group], format: Format) -> Iterator[Row]:
    for group in groups:
        if format == "groups":
            yield formats.record_row(group)
        else:
            yield formats.prompt_row(group.prompt)


def _judged_rows(store: Store, project: str, format: Format) -> Iterator[Row]:
    for group, judgements in store.judged_groups(project):
        row = settled(group, judgements)
        if row is not None:
            yield from JUDGED[format](row)


def _completions(row: PreferenceGroup) -> list[Row]:
    """The chosen responses as demonstrations."""
    winners = dict.fromkeys(p.winner for p in row.preferences if p.probability > 0.5)
    return [formats.completion_row(row.group.prompt, row.group.responses[i]) for i in winners]


def _labelled(row: PreferenceGroup) -> list[Row]:
    """Chosen responses as desirable, rejected ones as not."""
    return [
        formats.unpaired_row(
            Unpaired(prompt=row.group.prompt, response=row.group.responses[index], desirable=good)
        )
        for p in row.preferences
        if p.probability > 0.5
        for index, good in ((p.winner, True), (p.loser, False))
    ]


JUDGED: dict[str, Callable[[PreferenceGroup], list[Row]]] = {
    "preference": formats.preference_rows,
    "graded": formats.graded_preference_rows,
    "prompt-completion": _completions,
    "unpaired": _labelled,
    "ranking": lambda row: [formats.ranking_row(row)],
    "preferences": lambda row: [formats.record_row(row)],
}
