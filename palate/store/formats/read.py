"""Rows into records, streaming: each reader has a table of formats; the first that fits reads."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from palate.records import (
    Demonstration,
    Group,
    JudgedGroup,
    PreferenceGroup,
    Prompt,
    Record,
    Unpaired,
)
from palate.store.errors import BadRows, RowError, Skipped, parsed_rows, refuse, shortened
from palate.store.formats import foreign, parse, preferences, tables
from palate.store.formats.fields import nothing_lost, prompt, text, with_extra
from palate.store.lines import Limits
from palate.store.rows import USUAL, read_document, read_rows
from palate.store.tables import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How files are read: the column that holds a field where its name is another one, and how
    large rows and files may be."""

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Limits = USUAL

    def renamed(self, row: Row) -> Row:
        """The row under the names of its fields; a column that is not there is refused."""
        for name, column in self.columns.items():
            if column not in row:
                near = difflib.get_close_matches(column, row, n=1)
                raise RowError(
                    f"there is no column '{column}' for the field '{name}'; the row has "
                    f"{listed(row)}" + (f"; did you mean '{near[0]}'?" if near else ""),
                    field=column,
                    remedy="correct the setting columns (--column)",
                )
        if not self.columns:
            return row
        gone = {*self.columns, *self.columns.values()}
        rest = {name: value for name, value in row.items() if name not in gone}
        return rest | {name: row[column] for name, column in self.columns.items()}


AS_IT_IS = Reading()


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """A way to write a record as a row: it applies where all the fields it needs are there."""

    name: str
    needs: tuple[str, ...]
    parse: Callable[[Row], T]
    takes: tuple[str, ...] = ()
    """Further fields that it reads where they are there; `*` stands for anything."""
    cells: bool = True
    """Whether text can hold all that it needs, as the cells of a table do."""
    told: bool = True
    """Whether it is named where no format fits."""

    def ignored(self, row: Row) -> list[str]:
        """The fields of a row with content that it does not read."""
        known = (*self.needs, *self.takes)
        return [
            name
            for name, value in row.items()
            if value not in (None, "", []) and not any(fnmatchcase(name, k) for k in known)
        ]


def read_prompts(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[Prompt]:
    """Prompts, as text, messages or `prompt_ids`; `reference` (or `answer`) and `tag` are kept."""
    return _read(PROMPTS, source, reading, split, bad_rows)


def read_demonstrations(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[Demonstration]:
    """Demonstrations: `messages`, `prompt` and `completion`, Alpaca's or ShareGPT's fields."""
    return _read(DEMONSTRATIONS, source, reading, split, bad_rows)


def read_preferences(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[PreferenceGroup]:
    """Preferences: palate's own, rankings, TRL's with explicit or implicit prompt, HH-RLHF text,
    Alpaca's or ShareGPT's; `margin` and `probability` are optional."""
    return _read(PREFERENCES, source, reading, split, bad_rows)


def read_unpaired(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[Unpaired]:
    """Single responses with a `label` that says whether they are desirable."""
    return _read((*UNPAIRED, _PAIRED), source, reading, split, bad_rows)


def read_groups(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[Group]:
    """Groups: palate's own, or a `prompt` with `responses`, a list of texts."""
    return _read(GROUPS, source, reading, split, bad_rows)


def read_judged(
    source: str,
    reading: Reading = AS_IT_IS,
    *,
    judge: str,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[JudgedGroup]:
    """Groups with what was said about them: palate's own judgements, HelpSteer3, UltraFeedback,
    OpenAssistant's trees, and everything that `read_preferences` reads; `judge` signs what names
    no judge of its own."""
    return (
        group
        for groups in _read(judged_formats(judge), source, reading, split, bad_rows)
        for group in groups
    )


def judged_formats(judge: str) -> "tuple[Format[list[JudgedGroup]], ...]":
    """The formats of `read_judged`."""

    def signed(parse: Signed) -> Parse:
        return lambda row: parse(row, judge)

    def stated(format: Format[PreferenceGroup]) -> Parse:
        if format.needs == RANKED:
            return lambda row: foreign.ranked_completions(row, judge, format.parse(row))
        return lambda row: foreign.stated_preferences(format.parse(row), judge)

    known = {needs for _, needs, *_ in JUDGED}
    return (
        *(
            Format(name, needs, signed(parse), takes, cells=cells)
            for name, needs, parse, takes, cells in JUDGED
        ),
        *(
            Format(f.name, f.needs, stated(f), f.takes, cells=f.cells, told=f.told)
            for f in PREFERENCES
            if f.needs not in known
        ),
    )


def read_texts(
    source: str,
    field: str = "text",
    reading: Reading = AS_IT_IS,
    *,
    split: str = "train",
    bad_rows: BadRows = refuse,
) -> Iterator[str]:
    """Documents: one field of the rows of a table, or the whole of a .txt file; blank ones are
    left out."""
    if Path(source.removesuffix(".gz")).suffix == ".txt":
        texts = iter((read_document(source, reading.limits),))
    else:
        formats = (Format("a text table", (field,), lambda row: text(row[field], field)),)
        texts = _read(formats, source, reading, split, bad_rows)
    return (document for document in texts if document.strip())


def numbered(kind: type[Record], source: str, reading: Reading = AS_IT_IS) -> dict[Record, int]:
    """The rows of a file by the records of a kind that are made of them, the first where several
    are equal; empty where there is no such file."""
    formats = _FORMATS.get(kind)
    if formats is None or not Path(source).is_file():
        return {}
    rows = read_rows(source, bad_rows=Skipped(), limits=reading.limits)
    parsed = parsed_rows(rows, _record(formats, source, reading), source=source, bad_rows=Skipped())
    return {record: number for number, record in reversed([*parsed])}


def unread_fields(kind: type[Record], source: str, reading: Reading = AS_IT_IS) -> list[str]:
    """Fields with content in the first 1,000 rows of a file that their format does not read;
    prompts keep all of theirs."""
    formats = judged_formats("") if kind is JudgedGroup else _FORMATS[kind]
    if kind is Prompt or not Path(source).is_file():
        return []

    def ignored(row: Row) -> list[str]:
        renamed = reading.renamed(row)
        return _format_of(renamed, formats, table=False).ignored(renamed)

    rows = islice(read_rows(source, bad_rows=Skipped(), limits=reading.limits), _SAMPLE)
    found = parsed_rows(rows, ignored, source=source, bad_rows=Skipped())
    return list(dict.fromkeys(name for _, names in found for name in names))


def row_of(record: Record, source: str, reading: Reading = AS_IT_IS) -> int:
    """The row of a file where a record stands; 0 where that cannot be told."""
    return numbered(type(record), source, reading).get(record, 0)


def _read(
    formats: Sequence[Format[T]], source: str, reading: Reading, split: str, bad_rows: BadRows
) -> Iterator[T]:
    rows = read_rows(source, split=split, bad_rows=bad_rows, limits=reading.limits)
    record = _record(formats, source, reading)
    return (found for _, found in parsed_rows(rows, record, source=source, bad_rows=bad_rows))


def _record(formats: Sequence[Format[T]], source: str, reading: Reading) -> Callable[[Row], T]:
    table = Path(source.removesuffix(".gz")).suffix in (".csv", ".tsv")

    def record(row: Row) -> T:
        renamed = nothing_lost(reading.renamed(row))
        format = _format_of(renamed, formats, table=table)
        try:
            return format.parse(renamed)
        except RecursionError as error:
            raise RowError("is nested too deeply") from error

    return record


def listed(names: Iterable[str]) -> str:
    """The first names of a row's fields."""
    known = sorted(names)
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return ", ".join(shortened(name, 60) for name in known[:20]) + more or "no fields"


def _format_of(row: Row, formats: Sequence[Format[T]], *, table: bool) -> Format[T]:
    there = {name for name, value in row.items() if value is not None}
    for format in formats:
        if there.issuperset(format.needs):
            return format
    known = [format for format in formats if format.cells or not table]
    spelt = {_plain(name): name for name in there}

    def nearness(format: Format[T]) -> tuple[int, bool, int]:
        shared = sum(_plain(name) in spelt for name in format.needs)
        return shared, format.cells, -len(format.needs)

    near = max(known, key=nearness)
    missing = [name for name in near.needs if name not in there]
    columns = ", ".join(f'{name} = "{spelt.get(_plain(name), "COLUMN")}"' for name in missing)
    raise RowError(
        f"is missing; the row has {listed(there)}, "
        f"and the nearest format is {near.name} ({', '.join(near.needs)})",
        field=missing[0],
        remedy=f"name the columns with columns = {{ {columns} }} (--column {missing[0]}=COLUMN), "
        "or rename them; known are "
        + "; ".join(f"{f.name} ({', '.join(f.needs)})" for f in known if f.told),
    )


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


_ASKED = ("reference", "answer", "tag", "system", "system_prompt")
_ALPACA = ("input", "history", *_ASKED)
_GRADED = ("probability", "margin")
_NUMBERED = ("response_*", "model_*", *_ASKED)
PROMPTS = (
    Format(
        "palate's own prompts",
        ("messages", "token_ids"),
        parse.own_prompt,
        ("reference", "tag", "extra"),
        cells=False,
        told=False,
    ),
    Format("TRL prompts", ("prompt",), with_extra(prompt), _ASKED),
    Format("token prompts", ("prompt_ids",), with_extra(prompt), _ASKED, cells=False),
    Format("conversations", ("messages",), with_extra(parse.messages_prompt), _ASKED, cells=False),
    Format("questions", ("question",), with_extra(parse.text_prompt("question")), _ASKED),
    Format("problems", ("problem",), with_extra(parse.text_prompt("problem")), _ASKED),
    Format("Alpaca", ("instruction",), with_extra(parse.instruction_prompt), _ALPACA),
    Format("lines of text", ("text",), with_extra(parse.text_prompt("text")), _ASKED),
)
_TAGGED = ("tag", "system", "system_prompt", "reference")
DEMONSTRATIONS = (
    Format(
        "conversations",
        ("messages",),
        parse.conversation_demonstration("messages"),
        _TAGGED,
        cells=False,
    ),
    Format(
        "TRL",
        ("prompt", "completion"),
        parse.answer_demonstration("prompt", "completion"),
        _TAGGED,
    ),
    Format(
        "prompt-response",
        ("prompt", "response"),
        parse.answer_demonstration("prompt", "response"),
        _TAGGED,
    ),
    Format(
        "Alpaca",
        ("instruction", "output"),
        parse.answer_demonstration("instruction", "output"),
        ("input", "history", *_TAGGED),
    ),
    Format(
        "questions",
        ("question", "answer"),
        parse.answer_demonstration("question", "answer"),
        _TAGGED,
    ),
    Format(
        "questions",
        ("question", "response"),
        parse.answer_demonstration("question", "response"),
        _TAGGED,
    ),
    Format(
        "ShareGPT",
        ("conversations",),
        parse.conversation_demonstration("conversations"),
        _TAGGED,
        cells=False,
    ),
)
Parse = Callable[[Row], list[JudgedGroup]]
RANKED = ("context", "completions")
Signed = Callable[[Row, str], list[JudgedGroup]]
JUDGED: tuple[tuple[str, tuple[str, ...], Signed, tuple[str, ...], bool], ...] = (
    ("palate's own judgements", ("group", "judgements"), foreign.own_judgements, (), False),
    (
        "HelpSteer3",
        ("context", "response1", "response2", "overall_preference"),
        foreign.helpsteer,
        ("individual_preference", *_ASKED),
        False,
    ),
    ("UltraFeedback", ("instruction", "completions"), foreign.ultrafeedback, _ALPACA, False),
    ("OpenAssistant trees", ("message_tree_id", "prompt"), foreign.oasst, (), False),
    (
        "a winner of two",
        (*tables.LETTERED, "winner"),
        tables.judged_responses,
        ("judge", *_NUMBERED),
        True,
    ),
    (
        "a winner of many",
        (*tables.NUMBERED, "winner"),
        tables.judged_responses,
        ("judge", *_NUMBERED),
        True,
    ),
    (
        "an arena's battle",
        (*tables.ARENA, "winner"),
        tables.judged_responses,
        ("judge", *_NUMBERED),
        False,
    ),
)
PREFERENCES = (
    Format("palate's own", ("group", "preferences"), preferences.own_preferences, cells=False),
    Format("ranking", RANKED, preferences.ranking, _ASKED, cells=False),
    Format(
        "TRL explicit",
        ("prompt", "chosen", "rejected"),
        preferences.explicit_preference,
        (*_GRADED, *_ASKED, "prompt_id"),
    ),
    Format(
        "Alpaca",
        ("instruction", "chosen", "rejected"),
        preferences.instruction_preference,
        (*_GRADED, *_ALPACA),
    ),
    Format(
        "ShareGPT",
        ("conversations", "chosen", "rejected"),
        preferences.sharegpt_preference,
        (*_GRADED, *_ASKED),
        cells=False,
    ),
    Format(
        "questions",
        ("question", "chosen", "rejected"),
        preferences.question_preference,
        (*_GRADED, *_ASKED),
    ),
    Format(
        "implicit prompt",
        ("chosen", "rejected"),
        preferences.implicit_preference,
        (*_GRADED, *_ASKED),
        cells=False,
    ),
    Format("a winner of two", (*tables.LETTERED, "winner"), tables.preferred_responses, _NUMBERED),
    Format("a winner of many", (*tables.NUMBERED, "winner"), tables.preferred_responses, _NUMBERED),
    Format(
        "an arena's battle",
        (*tables.ARENA, "winner"),
        tables.preferred_responses,
        _NUMBERED,
        cells=False,
    ),
    Format("two responses", tables.LETTERED, tables.unjudged, told=False),
    Format("many responses", tables.NUMBERED, tables.unjudged, told=False),
)
UNPAIRED = (
    Format("TRL unpaired", ("prompt", "completion", "label"), parse.labelled_completion, _ASKED),
    Format(
        "labelled conversations",
        ("messages", "label"),
        parse.labelled_messages,
        _ASKED,
        cells=False,
    ),
)
GROUPS = (
    Format("groups", ("prompt", "responses"), parse.group, _ASKED, cells=False),
    Format("token groups", ("prompt_ids", "responses"), parse.group, _ASKED, cells=False),
    Format("two responses", tables.LETTERED, tables.responses, _NUMBERED),
    Format("many responses", tables.NUMBERED, tables.responses, _NUMBERED),
    Format("an arena's battle", tables.ARENA, tables.responses, _NUMBERED, cells=False),
)


_SAMPLE = 1_000


def _refuse_pair(row: Row) -> Unpaired:
    del row
    raise RowError(
        "is a pair, and what is wanted are single responses with a label",
        field="chosen",
        remedy='set loss = "sigmoid", which learns from pairs, or write every response as a row '
        "of its own: prompt, completion and label (true or false)",
    )


_PAIRED = Format("pairs", ("chosen", "rejected"), _refuse_pair, told=False)
_FORMATS: dict[type[Record], Sequence[Format[Any]]] = {
    Prompt: PROMPTS,
    Demonstration: DEMONSTRATIONS,
    PreferenceGroup: PREFERENCES,
    Unpaired: UNPAIRED,
    Group: GROUPS,
}
