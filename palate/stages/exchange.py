"""`import` and `export`: between files (or Hub names) and a project of the database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from palate.config.exchange import Format, Kind, OnBadRow, Weights
from palate.evaluation.ballots import ballots, reliability
from palate.feedback.aggregate import EQUAL, labelled, settled, vote_weight
from palate.records import (
    Group,
    JudgedGroup,
    Judgement,
    PreferenceGroup,
    Response,
    judge_kind,
)
from palate.stages.card import card_of, write_card
from palate.store import formats
from palate.store.database import Judged, Store
from palate.store.errors import BadRows, DataError, Skipped, refuse
from palate.store.formats import Row, split_by_prompt

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
    groups = judgements = 0
    skipped = Skipped()
    rows = judged_rows(source, kind, bad_rows=skipped if bad_rows == "skip" else refuse)
    with Store(url) as store, console.status(f"importing {source}") as status:
        for chunk in chunks(rows):
            groups += store.add_groups(project, [row.group for row in chunk])
            said = (judgement for row in chunk for judgement in row.judgements)
            judgements += store.add_judgements(project, said)
            status.update(f"importing {source}: {groups} groups, {judgements} judgements")
    _report(skipped, console)
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


# Export


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to export: a project's groups, judged by `judges` whose votes weigh `weights`.

    `judges` are names, patterns such as `person:*`, or kinds (people, models, simulated, imported,
    all); empty: everybody, if they are all of one kind.
    """

    project: str
    judges: Sequence[str] = ()
    weights: Weights = "reliability"
    held_out: float = 0.0
    seed: int = 0
    license: str = "not stated"


def export_project(
    selection: Selection, *, format: Format, out: Path, url: str, console: Console
) -> None:
    """Write a project in a format that trainers read, beside it its manifest and data card.

    Equal content gives equal bytes. With a held-out fraction there is a second file, and all rows
    of a prompt are in the same one.
    """
    with Store(url) as store:
        chosen = {} if format in UNJUDGED else chosen_judges(store, selection)
        weights = judge_weights(store, selection, chosen)
        card = card_of(store, selection.project, chosen, license=selection.license)
        for held_out, path in _files(out, selection.held_out):
            left_out: dict[str, int] = {}
            mine = _side(_judged(store, selection.project, chosen, format), selection, held_out)
            rows = _rows(mine, format, weights, left_out)
            count = formats.write_rows(path, rows)
            card = card.with_file(path, rows=count, left_out=left_out)
            console.print(f"{count} rows of {selection.project} written to {path}")
            for reason, times in left_out.items():
                console.print(f"  {times} groups left out: {reason}", markup=False)
    written = write_card(card, out, format=format, settings=_settings(selection))
    console.print(f"manifest and data card: {', '.join(map(str, written))}")


def _settings(selection: Selection) -> dict[str, str]:
    return {
        "project": selection.project,
        "weights": selection.weights,
        "held_out": str(selection.held_out),
        "seed": str(selection.seed),
    }


def _files(out: Path, held_out: float) -> list[tuple[bool, Path]]:
    """(whether it holds the held-out prompts, path)."""
    if not held_out:
        return [(False, out)]
    stem, dot, suffix = out.name.partition(".")
    return [(False, out), (True, out.with_name(f"{stem}.held_out{dot}{suffix}"))]


def chosen_judges(store: Store, selection: Selection) -> dict[str, Judged]:
    """The judges of a selection; different kinds of judges are never mixed unless asked to."""
    known = store.judges(selection.project)
    chosen = {
        name: judged
        for name, judged in known.items()
        if not selection.judges or any(_names(word, name) for word in selection.judges)
    }
    kinds = {judge_kind(name) for name in chosen}
    listed = ", ".join(f"{name} ({judged.judgements})" for name, judged in known.items()) or "none"
    source = f"project '{selection.project}'"
    if not selection.judges and len(kinds) > 1:
        raise DataError(
            f"its judges are of different kinds: {listed}",
            source=source,
            remedy="say whose judgements to export, such as --judges people, or --judges all",
        )
    if not chosen:
        raise DataError(f"nobody of that name judged it; judges: {listed}", source=source)
    return chosen


_KINDS = {"people": "person", "models": "model", "simulated": "simulated", "imported": "imported"}


def _names(word: str, judge: str) -> bool:
    return word == "all" or _KINDS.get(word) == judge_kind(judge) or fnmatchcase(judge, word)


def judge_weights(
    store: Store, selection: Selection, chosen: Mapping[str, Judged]
) -> Mapping[str, float]:
    """log(a / (1 - a)) of every judge's estimated accuracy a; equal where votes do not overlap."""
    if selection.weights == "equal" or len(chosen) < 2:
        return EQUAL
    shared = (
        (group, judgements)
        for group, judgements in _judged(store, selection.project, chosen, "preferences")
        if len({judgement.judge for judgement in judgements}) > 1
    )
    cast = ballots(shared)
    fit = reliability(cast)
    if fit is None:
        return EQUAL
    return dict(zip(cast.judges, map(vote_weight, fit.accuracy.tolist()), strict=True))


JudgedPair = tuple[Group, tuple[Judgement, ...]]


def _judged(
    store: Store, project: str, chosen: Mapping[str, Judged], format: Format
) -> Iterator[JudgedPair]:
    if format in UNJUDGED:
        for group in store.groups(project):
            yield group, ()
        return
    for group, judgements in store.judged_groups(project):
        mine = tuple(judgement for judgement in judgements if judgement.judge in chosen)
        if mine:
            yield group, mine


def _side(
    judged: Iterable[JudgedPair], selection: Selection, held_out: bool
) -> Iterator[JudgedPair]:
    for group, judgements in judged:
        side = split_by_prompt(group.prompt.id, fraction=selection.held_out, seed=selection.seed)
        if side == held_out:
            yield group, judgements


def _rows(
    judged: Iterable[JudgedPair],
    format: Format,
    weights: Mapping[str, float],
    left_out: dict[str, int],
) -> Iterator[Row]:
    """The rows of a format; groups that it cannot hold are counted by reason."""
    for group, judgements in judged:
        try:
            yield from _rows_of(group, judgements, format, weights)
        except DataError as error:
            left_out[error.problem] = left_out.get(error.problem, 0) + 1


def _rows_of(
    group: Group, judgements: Sequence[Judgement], format: Format, weights: Mapping[str, float]
) -> list[Row]:
    if format in UNJUDGED:
        return UNJUDGED[format](group)
    if format in AS_SAID:
        plain = [judgement.model_copy(update={"supersedes": None}) for judgement in judgements]
        return AS_SAID[format](JudgedGroup(group=group, judgements=tuple(plain)))
    row = settled(group, judgements, weights=weights)
    return JUDGED[format](row) if row else []


def _completions(row: PreferenceGroup) -> list[Row]:
    """The chosen responses as demonstrations."""
    return [formats.completion_row(row.group.prompt, response) for response in _chosen(row)]


def _messages(row: PreferenceGroup) -> list[Row]:
    """The chosen responses as whole conversations."""
    return [formats.messages_row(row.group.prompt, response) for response in _chosen(row)]


def _chosen(row: PreferenceGroup) -> list[Response]:
    winners = dict.fromkeys(p.winner for p in row.preferences if p.probability > 0.5)
    return [row.group.responses[index] for index in winners]


def _labelled(row: PreferenceGroup) -> list[Row]:
    """Chosen responses as desirable, rejected ones as not."""
    return [formats.unpaired_row(one) for one in labelled(row)]


UNJUDGED: dict[str, Callable[[Group], list[Row]]] = {
    "groups": lambda group: [formats.record_row(group)],
    "prompt-only": lambda group: [formats.prompt_row(group.prompt)],
}
AS_SAID: dict[str, Callable[[JudgedGroup], list[Row]]] = {
    "judgements": lambda judged: [formats.record_row(judged)],
    "helpsteer": formats.helpsteer_rows,
    "ultrafeedback": formats.ultrafeedback_rows,
}
JUDGED: dict[str, Callable[[PreferenceGroup], list[Row]]] = {
    "preference": formats.preference_rows,
    "graded": formats.graded_preference_rows,
    "prompt-completion": _completions,
    "messages": _messages,
    "unpaired": _labelled,
    "ranking": lambda row: [formats.ranking_row(row)],
    "hh": formats.hh_rows,
    "alpaca": formats.alpaca_rows,
    "sharegpt": formats.sharegpt_rows,
    "oasst": lambda row: [formats.oasst_row(row)],
    "preferences": lambda row: [formats.record_row(row)],
}
