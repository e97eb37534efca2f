"""Records into rows, and rows into files that are the same bytes every time."""

import gzip
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, cast

from palate.records import (
    Demonstration,
    Group,
    JudgedGroup,
    Message,
    PreferenceGroup,
    Prompt,
    Ranking,
    Response,
    Unpaired,
    preferences_of,
)
from palate.store.cells import write_cells
from palate.store.errors import DataError
from palate.store.files import atomic_writer, json_line
from palate.store.tables import Row, write_parquet


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows atomically to a .jsonl, .jsonl.gz, .parquet or .csv file and count them: equal
    rows give equal bytes."""
    for suffix, write in _WRITERS.items():
        if path.name.endswith(suffix):
            with atomic_writer(path) as file:
                return write(file, rows)
    raise DataError(
        "cannot write files of this kind", source=str(path), remedy=f"use {', '.join(_WRITERS)}"
    )


def _write_jsonl(file: IO[bytes], rows: Iterable[Row]) -> int:
    count = 0
    for row in rows:
        file.write(json_line(row).encode() + b"\n")
        count += 1
    return count


def _write_gzip(file: IO[bytes], rows: Iterable[Row]) -> int:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
        return _write_jsonl(cast(IO[bytes], zipped), rows)


def _write_parquet(file: IO[bytes], rows: Iterable[Row]) -> int:
    # the schema is known only after the last row, so rows wait on the disk that has room for them
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as spool:
        count = _write_jsonl(spool, rows)

        def batches() -> Iterator[list[Row]]:
            spool.seek(0)
            while batch := [json.loads(line) for line in islice(spool, 1024)]:
                yield batch

        write_parquet(file, batches)
    return count


def _write_csv(file: IO[bytes], rows: Iterable[Row]) -> int:
    # the columns are known only after the last row
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as spool:
        names: dict[str, None] = {}

        def flat() -> Iterator[Row]:
            for row in rows:
                yield (cells := flat_row(row))
                names.update(dict.fromkeys(cells))

        count = _write_jsonl(spool, flat())
        spool.seek(0)
        write_cells(file, list(names), map(json.loads, spool))
    return count


def flat_row(row: Row) -> Row:
    """A row whose values are text and numbers, as cells are: a prompt of one user turn is its text,
    with a `system` turn beside it, and a response is its text."""
    cells: Row = {}
    for name, value in row.items():
        turns = cast("list[dict[str, str]]", value) if isinstance(value, list) else None
        if turns is None and not isinstance(value, dict):
            cells[name] = value
            continue
        roles = [turn.get("role") for turn in turns or ()]
        if turns and roles == ["system", "user"]:
            cells["system"] = turns[0]["content"]
        elif not turns or roles not in (["user"], ["assistant"]):
            raise DataError(
                f"cells of CSV hold no more than one turn of '{name}'",
                source="a row",
                remedy="export .jsonl or .parquet, which keep everything",
            )
        cells[name] = turns[-1]["content"]
    return cells


_WRITERS: dict[str, Callable[[IO[bytes], Iterable[Row]], int]] = {
    ".jsonl": _write_jsonl,
    ".jsonl.gz": _write_gzip,
    ".parquet": _write_parquet,
    ".csv": _write_csv,
}


def record_row(record: Group | PreferenceGroup | JudgedGroup) -> Row:
    """palate's own row, which keeps everything."""
    return record.model_dump(mode="json")


def prompt_row(prompt: Prompt) -> Row:
    """TRL's prompt-only row (or `prompt_ids`), with `reference`, `tag` and further fields where
    there are any."""
    asked: Row = {"prompt": _turns(prompt.messages)}
    if prompt.token_ids:
        asked = {"prompt_ids": list(prompt.token_ids)}
    further: Row = json.loads(prompt.extra) if prompt.extra else {}
    return further | asked | _filled({"reference": prompt.reference, "tag": prompt.tag})


def demonstration_row(demonstration: Demonstration) -> Row:
    """TRL's conversational prompt-completion row, with `tag` where there is one."""
    return completion_row(demonstration.prompt, Response(text=demonstration.response))


def messages_row(prompt: Prompt, response: Response) -> Row:
    """A response to imitate as a whole conversation in `messages`, and its `tag`."""
    row: Row = {"messages": [*_asked(prompt), *_response(response.text)]}
    return row | _filled({"tag": prompt.tag})


def completion_row(prompt: Prompt, response: Response) -> Row:
    """A response to imitate as TRL's prompt-completion row, with `tag` where there is one."""
    row: Row = {"prompt": _asked(prompt), "completion": _response(response.text)}
    return row | _filled({"tag": prompt.tag})


def unpaired_row(unpaired: Unpaired) -> Row:
    """TRL's conversational unpaired row: `prompt`, `completion`, `label`."""
    return {
        "prompt": _asked(unpaired.prompt),
        "completion": _response(unpaired.response.text),
        "label": unpaired.desirable,
    }


def preference_rows(group: PreferenceGroup) -> list[Row]:
    """TRL's explicit conversational rows, one per preference that is not a tie.

    A hard pair cannot say how probable it is: the more probable response is `chosen`.
    """
    return [
        {name: row[name] for name in ("prompt", "chosen", "rejected")}
        for row in graded_preference_rows(group)
    ]


def graded_preference_rows(group: PreferenceGroup) -> list[Row]:
    """`preference_rows` that also hold `margin`, the `probability` of chosen over rejected, and the
    `prompt_id` that all pairs of a prompt share."""
    rows: list[Row] = []
    asked = _asked(group.group.prompt)
    texts = [response.text for response in group.group.responses]
    for p in group.preferences:
        if p.probability == 0.5:
            continue
        chosen, rejected, sign = p.winner, p.loser, 1
        if p.probability < 0.5:
            chosen, rejected, sign = p.loser, p.winner, -1
        rows.append(
            {
                "prompt": asked,
                "chosen": _response(texts[chosen]),
                "rejected": _response(texts[rejected]),
                "margin": sign * p.margin,
                "probability": max(p.probability, 1 - p.probability),
                "prompt_id": group.group.prompt.id,
            }
        )
    return rows


def ranking_row(group: PreferenceGroup) -> Row:
    """NeMo-RL's ranking row; the preferences have to be those of a ranking of all responses."""
    responses = group.group.responses
    losses = [0] * len(responses)
    for p in group.preferences:
        losses[p.loser] += p.probability == 1
    levels = sorted(set(losses))
    ranks = tuple(levels.index(lost) for lost in losses)
    if set(preferences_of(Ranking(ranks=ranks), range(len(ranks)))) != set(group.preferences):
        raise DataError(
            "the preferences are not those of a full ranking",
            source=f"group {group.group.id}",
            remedy="export pairs, or palate's own format, which keeps everything",
        )
    return {
        "context": _asked(group.group.prompt),
        "completions": [
            {"rank": rank, "completion": _response(response.text)}
            for rank, response in zip(ranks, responses, strict=True)
        ],
    }


def _turns(messages: Iterable[Message]) -> list[Row]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _response(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def _asked(prompt: Prompt) -> list[Row]:
    if prompt.token_ids:
        raise DataError(
            "its prompt is token ids, which this format cannot hold",
            source=f"prompt {prompt.id}",
            remedy="export palate's own format, which keeps everything",
        )
    return _turns(prompt.messages)


def _filled(texts: dict[str, str]) -> Row:
    return {name: text for name, text in texts.items() if text}
