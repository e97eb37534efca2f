"""Rows into records, streaming: each reader has a table of formats; the first that fits reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from palate.store.errors import BadRows, RowError, Skipped, parsed_rows, refuse
from palate.store.formats import foreign, parse, preferences
from palate.store.formats.fields import nothing_lost, prompt, text, with_extra
from palate.store.rows import read_document, read_rows
from palate.store.tables import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """A way to write a record as a row: it applies where all the fields it needs are there."""

    name: str
    needs: tuple[str, ...]
    parse: Callable[[Row], T]


def read_prompts(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[Prompt]:
    """Prompts, as text, messages or `prompt_ids`; `reference` (or `answer`) and `tag` are kept."""
    return _read(PROMPTS, source, split, bad_rows)


def read_demonstrations(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[Demonstration]:
    """Demonstrations: `messages`, `prompt` and `completion`, Alpaca's or ShareGPT's fields."""
    return _read(DEMONSTRATIONS, source, split, bad_rows)


def read_preferences(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[PreferenceGroup]:
    """Preferences: palate's own, rankings, TRL's with explicit or implicit prompt, HH-RLHF text,
    Alpaca's or ShareGPT's; `margin` and `probability` are optional."""
    return _read(PREFERENCES, source, split, bad_rows)


def read_unpaired(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[Unpaired]:
    """Single responses with a `label` that says whether they are desirable."""
    return _read((*UNPAIRED, _PAIRED), source, split, bad_rows)


def read_groups(
    source: str, *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[Group]:
    """Groups: palate's own, or a `prompt` with `responses`, a list of texts."""
    return _read(GROUPS, source, split, bad_rows)


def read_judged(
    source: str, *, judge: str, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[JudgedGroup]:
    """Groups with what was said about them: palate's own judgements, HelpSteer3, UltraFeedback,
    OpenAssistant's trees, and everything that `read_preferences` reads; `judge` signs what names
    no judge of its own."""
    return (
        group
        for groups in _read(judged_formats(judge), source, split, bad_rows)
        for group in groups
    )


def judged_formats(judge: str) -> "tuple[Format[list[JudgedGroup]], ...]":
    """The formats of `read_judged`."""

    def signed(parse: Callable[[Row, str], list[JudgedGroup]]) -> Parse:
        return lambda row: parse(row, judge)

    def stated(format: Format[PreferenceGroup]) -> Parse:
        if format.needs == RANKED:
            return lambda row: foreign.ranked_completions(row, judge, format.parse(row))
        return lambda row: foreign.stated_preferences(format.parse(row), judge)

    return (
        *(Format(name, needs, signed(parse)) for name, needs, parse in JUDGED),
        *(Format(format.name, format.needs, stated(format)) for format in PREFERENCES),
    )


def read_texts(
    source: str, field: str = "text", *, split: str = "train", bad_rows: BadRows = refuse
) -> Iterator[str]:
    """Documents: one field of the rows of a table, or the whole of a .txt file; blank ones are
    left out."""
    if Path(source.removesuffix(".gz")).suffix == ".txt":
        texts = iter((read_document(source),))
    else:
        formats = (Format("a text table", (field,), lambda row: text(row[field], field)),)
        texts = _read(formats, source, split, bad_rows)
    return (document for document in texts if document.strip())


def numbered(kind: type[Record], source: str) -> dict[Record, int]:
    """The rows of a file by the records of a kind that are made of them, the first where several
    are equal; empty where there is no such file."""
    formats = _FORMATS.get(kind)
    if formats is None or not Path(source).is_file():
        return {}
    rows = read_rows(source, split="train", bad_rows=Skipped())
    parsed = parsed_rows(
        rows,
        lambda row: _format_of(row, formats).parse(row),
        source=source,
        bad_rows=Skipped(),
    )
    return {record: number for number, record in reversed([*parsed])}


def unread_fields(kind: type[Record], source: str) -> list[str]:
    """Fields with content in the first 1,000 rows of a file that no format of this kind reads;
    prompts keep all of theirs."""
    formats = judged_formats("") if kind is JudgedGroup else _FORMATS[kind]
    if kind is Prompt or not Path(source).is_file():
        return []
    known = _EVERYWHERE.union(*(format.needs for format in formats))
    rows = islice(read_rows(source, bad_rows=Skipped()), _SAMPLE)
    filled = {name: None for _, row in rows for name, value in row.items() if value not in _BLANK}
    return [name for name in filled if name not in known]


def row_of(record: Record, source: str) -> int:
    """The row of a file where a record stands; 0 where that cannot be told."""
    return numbered(type(record), source).get(record, 0)


def _read(formats: Sequence[Format[T]], source: str, split: str, bad_rows: BadRows) -> Iterator[T]:
    rows = read_rows(source, split=split, bad_rows=bad_rows)

    def record(row: Row) -> T:
        return _format_of(nothing_lost(row), formats).parse(row)

    return (found for _, found in parsed_rows(rows, record, source=source, bad_rows=bad_rows))


def _format_of(row: Row, formats: Sequence[Format[T]]) -> Format[T]:
    there = {name for name, value in row.items() if value is not None}
    for format in formats:
        if there.issuperset(format.needs):
            return format
    near = max(formats, key=lambda format: len(there.intersection(format.needs)))
    missing = [name for name in near.needs if name not in there]
    raise RowError(
        f"is missing; the row has {', '.join(sorted(there)) or 'no fields'}, "
        f"and the nearest format is {near.name} ({', '.join(near.needs)})",
        field=missing[0],
        remedy="rename or add fields; known are "
        + "; ".join(
            f"{format.name} ({', '.join(format.needs)})" for format in formats if format != _PAIRED
        ),
    )


PROMPTS = (
    Format("TRL prompts", ("prompt",), with_extra(prompt)),
    Format("token prompts", ("prompt_ids",), with_extra(prompt)),
    Format("conversations", ("messages",), with_extra(parse.messages_prompt)),
    Format("questions", ("question",), with_extra(parse.text_prompt("question"))),
    Format("problems", ("problem",), with_extra(parse.text_prompt("problem"))),
    Format("Alpaca", ("instruction",), with_extra(parse.instruction_prompt)),
    Format("lines of text", ("text",), with_extra(parse.text_prompt("text"))),
)
DEMONSTRATIONS = (
    Format("conversations", ("messages",), parse.conversation_demonstration("messages")),
    Format("TRL", ("prompt", "completion"), parse.answer_demonstration("prompt", "completion")),
    Format(
        "prompt-response", ("prompt", "response"), parse.answer_demonstration("prompt", "response")
    ),
    Format(
        "Alpaca", ("instruction", "output"), parse.answer_demonstration("instruction", "output")
    ),
    Format("questions", ("question", "answer"), parse.answer_demonstration("question", "answer")),
    Format(
        "questions", ("question", "response"), parse.answer_demonstration("question", "response")
    ),
    Format("ShareGPT", ("conversations",), parse.conversation_demonstration("conversations")),
)
Parse = Callable[[Row], list[JudgedGroup]]
RANKED = ("context", "completions")
JUDGED = (
    ("palate's own judgements", ("group", "judgements"), foreign.own_judgements),
    (
        "HelpSteer3",
        ("context", "response1", "response2", "overall_preference"),
        foreign.helpsteer,
    ),
    ("UltraFeedback", ("instruction", "completions"), foreign.ultrafeedback),
    ("OpenAssistant trees", ("message_tree_id", "prompt"), foreign.oasst),
)
PREFERENCES = (
    Format("palate's own", ("group", "preferences"), preferences.own_preferences),
    Format("ranking", RANKED, preferences.ranking),
    Format("TRL explicit", ("prompt", "chosen", "rejected"), preferences.explicit_preference),
    Format("Alpaca", ("instruction", "chosen", "rejected"), preferences.instruction_preference),
    Format("ShareGPT", ("conversations", "chosen", "rejected"), preferences.sharegpt_preference),
    Format("questions", ("question", "chosen", "rejected"), preferences.question_preference),
    Format("implicit prompt", ("chosen", "rejected"), preferences.implicit_preference),
)
UNPAIRED = (
    Format("TRL unpaired", ("prompt", "completion", "label"), parse.labelled_completion),
    Format("labelled conversations", ("messages", "label"), parse.labelled_messages),
)
GROUPS = (
    Format("groups", ("prompt", "responses"), parse.group),
    Format("token groups", ("prompt_ids", "responses"), parse.group),
)


def _refuse_pair(row: Row) -> Unpaired:
    del row
    raise RowError(
        "is a pair, and what is wanted are single responses with a label",
        field="chosen",
        remedy='set loss = "sigmoid", which learns from pairs, or write every response as a row '
        "of its own: prompt, completion and label (true or false)",
    )


_SAMPLE = 1_000
_BLANK: tuple[object, ...] = (None, "", [])
_EVERYWHERE = {
    "system",
    "system_prompt",
    "tag",
    "reference",
    "answer",
    "margin",
    "probability",
    "prompt_id",
    "input",
    "history",
    "individual_preference",
}
"""Fields that a format reads beside those it needs, and the id that exports write."""
_PAIRED = Format("pairs", ("chosen", "rejected"), _refuse_pair)
_FORMATS: dict[type[Record], Sequence[Format[Any]]] = {
    Prompt: PROMPTS,
    Demonstration: DEMONSTRATIONS,
    PreferenceGroup: PREFERENCES,
    Unpaired: UNPAIRED,
    Group: GROUPS,
}
