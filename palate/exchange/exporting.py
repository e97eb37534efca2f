"""`export`: a project of the database into a file that trainers read.

People leave under pseudonyms unless their names are asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from palate.config.exchange import Format, Names, Weights
from palate.evaluation.ballots import ballots, reliability
from palate.exchange.card import card_of, check_card, write_card
from palate.feedback.aggregate import EQUAL, labelled, settled, vote_weight
from palate.records import (
    Group,
    JudgedGroup,
    Judgement,
    PreferenceGroup,
    Response,
    judge_kind,
)
from palate.store import formats
from palate.store.database import Judged, Store
from palate.store.errors import DataError
from palate.store.formats import Row, split_by_prompt
from palate.store.pseudonyms import Naming, called


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to export: a project's groups, judged by `judges` whose votes weigh `weights`.

    `judges` are names, patterns such as `person:*`, or kinds (people, models, simulated, imported,
    all); empty: everybody, if they are all of one kind.
    """

    project: str
    judges: Sequence[str] = ()
    names: Names = "pseudonyms"
    weights: Weights = "reliability"
    held_out: float = 0.0
    seed: int = 0
    license: str = "not stated"


def export_project(
    selection: Selection, *, format: Format, out: Path, url: str, console: Console
) -> None:
    """Write a project in a format that trainers read, beside it its manifest and data card.

    Writing it again gives the same bytes. With a held-out fraction there is a second file, and all
    rows of a prompt are in the same one.
    """
    check_card(out)
    if out.suffix == ".csv":
        _check_cells(format, out)
    with Store(url) as store:
        chosen = {} if format in UNJUDGED else chosen_judges(store, selection)
        weights = judge_weights(store, selection, chosen)
        naming = _naming(store, selection)
        card = card_of(store, selection.project, chosen, naming=naming, license=selection.license)
        for held_out, path in _files(out, selection.held_out):
            left_out: dict[str, int] = {}
            mine = _side(_judged(store, selection, chosen, format), selection, held_out)
            rows = _rows(mine, format, weights, left_out, cells=path.suffix == ".csv")
            count = formats.write_rows(path, rows)
            card = card.with_file(path, rows=count, left_out=left_out)
            console.print(f"{count} rows of {selection.project} written to {path}")
            for reason, times in left_out.items():
                console.print(f"  {times} groups left out: {reason}", markup=False)
    written = write_card(card, out, format=format, settings=_settings(selection))
    console.print(f"manifest and data card: {', '.join(map(str, written))}")


def _check_cells(format: Format, out: Path) -> None:
    """Refuse formats whose rows cells never hold, before anything is written."""
    if format not in IN_CELLS:
        raise DataError(
            f"cells of CSV hold text and numbers, and rows of {format} hold lists",
            source=str(out),
            remedy="write .jsonl or .parquet, which keep everything; CSV holds "
            f"{', '.join(sorted(IN_CELLS))}",
        )


def _settings(selection: Selection) -> dict[str, str]:
    return {
        "project": selection.project,
        "names": selection.names,
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
        for group, judgements in _judged(store, selection, chosen, "preferences")
        if len({judgement.judge for judgement in judgements}) > 1
    )
    cast = ballots(shared)
    fit = reliability(cast)
    if fit is None:
        return EQUAL
    return dict(zip(cast.judges, map(vote_weight, fit.accuracy.tolist()), strict=True))


def _naming(store: Store, selection: Selection) -> Naming:
    return store.pseudonyms(selection.project) if selection.names == "pseudonyms" else str


JudgedPair = tuple[Group, tuple[Judgement, ...]]


def _judged(
    store: Store, selection: Selection, chosen: Mapping[str, Judged], format: Format
) -> Iterator[JudgedPair]:
    """What leaves, under the names under which it leaves."""
    naming = _naming(store, selection)
    if format in UNJUDGED:
        for group in store.groups(selection.project):
            yield called(group, (), naming)
        return
    for group, judgements in store.judged_groups(selection.project):
        mine = [judgement for judgement in judgements if judgement.judge in chosen]
        if mine:
            yield called(group, mine, naming)


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
    *,
    cells: bool,
) -> Iterator[Row]:
    """The rows of a format; groups that it cannot hold are counted by reason."""
    for group, judgements in judged:
        try:
            rows = _rows_of(group, judgements, format, weights)
            yield from map(formats.flat_row, rows) if cells else rows
        except DataError as error:
            left_out[error.problem] = left_out.get(error.problem, 0) + 1


def _rows_of(
    group: Group, judgements: Sequence[Judgement], format: Format, weights: Mapping[str, float]
) -> list[Row]:
    if format in UNJUDGED:
        return UNJUDGED[format](group)
    if format in AS_SAID:
        return AS_SAID[format](JudgedGroup(group=group, judgements=tuple(judgements)))
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


IN_CELLS = frozenset(
    ("prompt-only", "preference", "graded", "prompt-completion", "unpaired", "hh", "alpaca")
)
"""Formats whose rows of few turns are text and numbers."""
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
