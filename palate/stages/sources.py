"""Where records come from: the embedded world, files, Hub names, the database, or a stage."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from palate.feedback.aggregate import labelled, settled
from palate.feedback.verifiers import complaint
from palate.maths.seeds import seed
from palate.records import (
    Demonstration,
    Group,
    PreferenceGroup,
    Prompt,
    PromptId,
    Record,
    Unpaired,
    judge_kind,
)
from palate.stages.context import (
    CORPUS,
    DEMONSTRATIONS,
    GROUPS,
    HELD_OUT,
    PREFERENCES,
    PROJECT,
    PROMPTS,
    StageContext,
)
from palate.store import formats
from palate.store.database import Store
from palate.store.errors import DataError
from palate.worlds import cafe

T = TypeVar("T")
Asked = TypeVar("Asked", Prompt, Group)

_NUMBERED = 20  # bad rows whose number is looked up: finding one reads the file again

_CAFE_SIZES = {
    "corpus": 16_000,
    "demonstrations": 4_000,
    "prompts": 3_000,
    "held_out": 500,
    "quiz": 6_000,
}


def _cafe(source: str, kind: str) -> int | None:
    """How many of `kind` a source such as `cafe:prompts:500` asks for; None when it is no such."""
    parts = source.split(":")
    if parts[0] != "cafe":
        return None
    if len(parts) not in (2, 3) or parts[1] not in _CAFE_SIZES:
        raise DataError(
            source=source,
            problem="the cafe has no such data",
            remedy=f"one of {', '.join('cafe:' + k for k in _CAFE_SIZES)}, or cafe:NAME:COUNT",
        )
    allowed = {"prompts": ("prompts", "held_out"), "preferences": ("quiz",)}.get(kind, (kind,))
    if parts[1] not in allowed:
        raise DataError(
            source=source,
            problem=f"expected {kind}, but this is {parts[1]}",
            remedy=f"use cafe:{allowed[0]}",
        )
    return int(parts[2]) if len(parts) == 3 else _CAFE_SIZES[parts[1]]


def _filled(items: Iterable[T], source: str, what: str) -> list[T]:
    rows = list(items)
    if not rows:
        raise DataError(
            source=source, problem=f"no {what} in it", remedy="check the file and its format"
        )
    return rows


def texts(context: StageContext, source: str, field: str) -> list[str]:
    """Pretraining documents; several files may be separated by commas."""
    count = _cafe(source, "corpus")
    if count is not None:
        return cafe.corpus(count, seed=seed(context.seed, "corpus"))
    documents: list[str] = []
    for part in source.split(","):
        path = context.data(part.strip(), CORPUS)
        documents += formats.read_texts(
            path, field, context.reading(path), bad_rows=context.bad_rows
        )
    return _filled(documents, source, "text")


def say_unread(context: StageContext, kind: type[Record], path: str) -> None:
    """Name the fields of a file that nothing reads."""
    unread = formats.unread_fields(kind, path, context.reading(path))
    if unread:
        context.say(f"{path}: fields that are not read: {', '.join(unread)}")


def demonstrations(
    context: StageContext, source: str, *, held_out_fraction: float
) -> tuple[list[Demonstration], list[Demonstration]]:
    """(training, held-out) demonstrations, split by prompt."""
    count = _cafe(source, "demonstrations")
    if count is not None:
        rows = cafe.demonstrations(count, seed=seed(context.seed, "demonstrations"))
    else:
        path = context.data(source, DEMONSTRATIONS)
        read = formats.read_demonstrations(path, context.reading(path), bad_rows=context.bad_rows)
        say_unread(context, Demonstration, path)
        rows = _filled(read, source, "demonstrations")
    train, held = _split(
        context, rows, [row.prompt.id for row in rows], held_out_fraction=held_out_fraction
    )
    return _filled(train, source, "training demonstrations"), held


def prompts(context: StageContext, source: str, *, limit: int = 0) -> list[Prompt]:
    """Distinct prompts; those of the embedded world are the same in every run."""
    count = _cafe(source, "prompts")
    if count is not None:
        split = "held_out" if source.split(":")[1] == "held_out" else "train"
        return cafe.prompts(split, min(count, limit or count), seed=0)
    path = context.data(source, PROMPTS)
    rows = formats.read_prompts(path, context.reading(path), bad_rows=context.bad_rows)
    unique = {prompt.id: prompt for prompt in rows}
    return _filled(islice(unique.values(), limit or None), source, "prompts")


def groups(context: StageContext, source: str) -> list[Group]:
    """Groups that `sample` wrote, or a file of groups."""
    path = context.data(source, GROUPS)
    rows = formats.read_groups(path, context.reading(path), bad_rows=context.bad_rows)
    return _filled(rows, source, "groups")


def preferences(
    context: StageContext, source: str, *, held_out_fraction: float
) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """(training, held-out) preferences. A stage that wrote a held-out part has split them already;
    other data is split here, by prompt."""
    rows = _filled(_preference_rows(context, source), source, "preferences")
    if all(p.probability == 0.5 for row in rows for p in row.preferences):
        raise DataError(
            source=source,
            problem="holds nothing but ties: nothing is preferred to anything",
            remedy="ask for decided judgements",
        )
    if source.startswith("@"):
        held_out = Path(context.data(source, PREFERENCES)).with_name(HELD_OUT)
        if held_out.is_file():
            return rows, list(formats.read_preferences(str(held_out), bad_rows=context.bad_rows))
    train, held = _split(
        context, rows, [cluster_of(row.group) for row in rows], held_out_fraction=held_out_fraction
    )
    return _filled(train, source, "training preferences"), held


def _split(
    context: StageContext, rows: Sequence[T], ids: Sequence[PromptId], *, held_out_fraction: float
) -> tuple[list[T], list[T]]:
    """(training, held-out) rows: those of one prompt, by its id, are on one side."""
    parts: tuple[list[T], list[T]] = ([], [])
    for row, id in zip(rows, ids, strict=True):
        side = formats.split_by_prompt(id, fraction=held_out_fraction, seed=context.seed)
        parts[side].append(row)
    return parts


def auxiliary_preferences(
    context: StageContext, source: str, *, held: Sequence[PreferenceGroup]
) -> list[PreferenceGroup]:
    """Further preferences to train on, if any, without those about prompts that are held out."""
    if not source:
        return []
    rows, _ = preferences(context, source, held_out_fraction=0.0)
    unseen = {cluster_of(row.group) for row in held}
    kept = (row for row in rows if cluster_of(row.group) not in unseen)
    return _filled(kept, source, "preferences about prompts that are not held out")


def _preference_rows(context: StageContext, source: str) -> Iterator[PreferenceGroup]:
    count = _cafe(source, "preferences")
    if count is not None:
        return iter(cafe.quiz(count, seed=seed(context.seed, "quiz")))
    if source.startswith(PROJECT):
        return judged(context.store_url, source)
    path = context.data(source, PREFERENCES)
    say_unread(context, PreferenceGroup, path)
    return formats.read_preferences(path, context.reading(path), bad_rows=context.bad_rows)


def judged(store_url: str, source: str) -> Iterator[PreferenceGroup]:
    """What the judgements of `project:NAME` settle into; those of people only for
    `project:NAME/people`."""
    name, _, who = source.removeprefix(PROJECT).partition("/")
    if who not in ("", "people"):
        raise DataError(
            f"there are no judges '{who}'",
            source=source,
            remedy=f"use {PROJECT}{name} or {PROJECT}{name}/people",
        )
    with Store(store_url) as store:
        for group, about in store.judged_groups(name):
            said = [j for j in about if not who or judge_kind(j.judge) == "person"]
            row = settled(group, said)
            if row is not None:
                yield row


def unpaired(
    context: StageContext, source: str, *, held_out_fraction: float
) -> tuple[list[Unpaired], list[Unpaired]]:
    """(training, held-out) single responses with a label, split by prompt.

    Preferences count as one desirable and one undesirable response.
    """
    if source.startswith(("@", PROJECT)):
        train, held = preferences(context, source, held_out_fraction=held_out_fraction)
        return (
            [one for row in train for one in labelled(row)],
            [one for row in held for one in labelled(row)],
        )
    read = formats.read_unpaired(source, context.reading(source), bad_rows=context.bad_rows)
    say_unread(context, Unpaired, source)
    rows = _filled(read, source, "labelled responses")
    singles, apart = _split(
        context, rows, [row.prompt.id for row in rows], held_out_fraction=held_out_fraction
    )
    return _filled(singles, source, "training responses"), apart


def verifiable(
    rows: Sequence[Asked], judge: str, context: StageContext, *, source: str
) -> list[Asked]:
    """The prompts or groups that a verifier can reward; others are bad rows, and none at all with
    a reference is refused. Judges that are no verifiers take every row.

    `source` is the file that they are from.
    """
    kind, _, verifier = judge.partition(":")
    if kind != "verifier":
        return list(rows)
    asked = [(row, row.prompt if isinstance(row, Group) else row) for row in rows]
    if not any(prompt.reference for _, prompt in asked):
        raise DataError(
            f"no row has a reference, so {judge} would reward nothing",
            source=source,
            remedy="give every row the right answer in `reference` or `answer`",
        )
    kept: list[Asked] = []
    bad = 0
    for row, prompt in asked:
        said = complaint(verifier, prompt.reference)
        if not said:
            kept.append(row)
            continue
        bad += 1
        error = DataError(
            f"{judge} cannot compare with {prompt.reference[:80]!r}, which {said}",
            source=source,
            row=formats.row_of(row, source, context.reading(source)) if bad <= _NUMBERED else 0,
            field="reference",
            remedy="correct it, use verifier:exact or verifier:contains, or leave such rows out "
            'with bad_rows = "skip"',
        )
        context.bad_rows(error)
    return _filled(kept, source, f"references that {judge} can read")


def cluster_of(group: Group) -> PromptId:
    """What groups share their luck: those with one prompt, unless that asks nothing at all."""
    asked = group.prompt.text or group.prompt.token_ids
    return group.prompt.id if asked else PromptId(group.id)
