"""What lies beside an export: a manifest with hashes, and a data card for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from palate.evaluation.agreements import RAW, Agreement, agreement
from palate.evaluation.ballots import said
from palate.evaluation.words import percent
from palate.records import JudgeKind, Record, judge_kind
from palate.store.database import Judged, Store
from palate.store.errors import DataError
from palate.store.files import json_line, sha256_file, write_text
from palate.store.pseudonyms import Naming


class CardJudge(Record):
    """A judge whose judgements are in the file."""

    judge: str
    kind: JudgeKind
    judgements: int


class CardFile(Record):
    """A file of the export; `left_out` are groups that the format cannot hold, by reason."""

    name: str
    rows: int
    sha256: str
    left_out: dict[str, int]


class Card(Record):
    """The facts about an export. Times are when judgements were added, in UTC."""

    license: str
    judges: tuple[CardJudge, ...] = ()
    first: str = ""
    last: str = ""
    agreements: tuple[Agreement, ...] = ()
    files: tuple[CardFile, ...] = ()

    def with_file(self, path: Path, *, rows: int, left_out: dict[str, int]) -> Self:
        """The card of one file more."""
        file = CardFile(name=path.name, rows=rows, sha256=sha256_file(path), left_out=left_out)
        return self.model_copy(update={"files": (*self.files, file)})


def card_of(
    store: Store, project: str, chosen: Mapping[str, Judged], *, naming: Naming, license: str
) -> Card:
    """The card of what some judges said, under the names that `naming` gives them; agreement is
    about groups that several of them judged."""
    if not chosen:
        return Card(license=license)
    agreements: tuple[Agreement, ...] = ()
    if len(chosen) > 1:
        mine = (
            (group, [judgement for judgement in judgements if judgement.judge in chosen])
            for group, judgements in store.judged_groups(project)
        )
        shared = ((g, js) for g, js in mine if len({j.judge for j in js}) > 1)
        agreements = agreement(said(shared), seed=0, draws=500)
    return Card(
        license=license,
        judges=tuple(
            CardJudge(judge=name, kind=judge_kind(name), judgements=judgements)
            for name, judgements in sorted(
                (naming(name), judged.judgements) for name, judged in chosen.items()
            )
        ),
        first=min(judged.first for judged in chosen.values()).isoformat(timespec="seconds"),
        last=max(judged.last for judged in chosen.values()).isoformat(timespec="seconds"),
        agreements=agreements,
    )


def check_card(out: Path) -> None:
    """Refuse an export whose manifest and card would take the place of another file's."""
    manifest, _ = _beside(out)
    if not manifest.is_file():
        return
    files = [file["name"] for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]]
    if out.name not in files:
        raise DataError(
            f"{manifest.name} beside it is that of {', '.join(files)}",
            source=str(out),
            remedy="give the export another name, or remove the other one with its manifest",
        )


def _beside(out: Path) -> tuple[Path, Path]:
    stem = out.name.partition(".")[0]
    return out.with_name(f"{stem}.manifest.json"), out.with_name(f"{stem}.card.md")


def write_card(
    card: Card, out: Path, *, format: str, settings: Mapping[str, str]
) -> tuple[Path, Path]:
    """Write `<name>.manifest.json` and `<name>.card.md` beside the export."""
    manifest, page = _beside(out)
    facts = {"format": format, "settings": dict(settings), **card.model_dump(mode="json")}
    write_text(manifest, json_line(facts) + "\n")
    write_text(page, card_page(card, format=format, settings=settings))
    return manifest, page


def card_page(card: Card, *, format: str, settings: Mapping[str, str]) -> str:
    """The card as Markdown."""
    lines = [f"# {settings['project']}", "", f"Format: `{format}`. License: {card.license}.", ""]
    for name, value in settings.items():
        lines.append(f"- {name}: {value}")
    if card.judges:
        lines += ["", f"Judged from {card.first} to {card.last} (UTC).", ""]
        lines += ["| judge | kind | judgements |", "| --- | --- | --- |"]
        lines += [f"| {j.judge} | {j.kind} | {j.judgements} |" for j in card.judges]
    if card.agreements:
        lines += ["", "| agreement about | statistic | value and 95 % interval | units |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            f"| {a.about} | {a.statistic} | {_value(a)} | {a.units} |" for a in card.agreements
        ]
    lines += ["", "| file | rows | sha256 |", "| --- | --- | --- |"]
    lines += [f"| {file.name} | {file.rows} | {file.sha256} |" for file in card.files]
    for file in card.files:
        for reason, times in file.left_out.items():
            lines += ["", f"{file.name} leaves out {times} groups: {reason}."]
    return "\n".join(lines) + "\n"


def _value(found: Agreement) -> str:
    if found.value is None:
        return found.undefined
    estimate, low, high = found.value
    if found.statistic == RAW:
        return f"{percent(estimate)} [{percent(low)}, {percent(high)}]"
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"
