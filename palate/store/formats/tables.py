"""Rows of tables: responses in columns of their own, `response_a`, `response_b` or `response_1`,
`response_2` and so on, or an arena's `conversation_a` and `conversation_b`, with or without the
`winner` that somebody named."""

from collections.abc import Iterator

from palate.records import (
    Choice,
    Group,
    JudgedGroup,
    Judgement,
    PreferenceGroup,
    Response,
    Tie,
    preferences_of,
)
from palate.store.errors import RowError, described
from palate.store.formats.fields import filled_text, messages, optional_text, prompt, prompt_of
from palate.store.tables import Row

LETTERED = ("prompt", "response_a", "response_b")
NUMBERED = ("prompt", "response_1", "response_2")
ARENA = ("conversation_a", "conversation_b")
_TIES = {"tie": False, "draw": False, "bothbad": True, "tiebothbad": True}


def responses(row: Row) -> Group:
    """A prompt and its responses; a number whose cell is empty ends them. `model_a` and so on are
    the policies that wrote them."""
    if ARENA[0] in row:
        return _battle(row)
    prefix = "response_"
    names = [*_names(row)]
    if len(names) < 2:
        raise RowError("is empty", field=f"{prefix}2", remedy="fill it in or leave the row out")
    return Group(
        prompt=prompt(row),
        responses=tuple(
            Response(
                text=filled_text(row[prefix + name], prefix + name),
                policy=optional_text(row, f"model_{name}"),
            )
            for name in names
        ),
    )


def _battle(row: Row) -> Group:
    """Two conversations that are equal up to the answer that ends them."""
    a, b = (messages(row[side], side) for side in ARENA)
    for side, turns in zip(ARENA, (a, b), strict=True):
        if turns[-1].role != "assistant":
            raise RowError("does not end with an answer", field=side)
    if a[:-1] != b[:-1]:
        raise RowError(
            "parts from conversation_a before the last answer, and a group has one prompt",
            field=ARENA[1],
            remedy='cut both after the first answer, or leave such rows out with bad_rows = "skip" '
            "(--bad-rows skip)",
        )
    return Group(
        prompt=prompt_of(a[:-1], row),
        responses=tuple(
            Response(
                text=filled_text(turns[-1].content, side),
                policy=optional_text(row, f"model_{side[-1]}"),
            )
            for side, turns in zip(ARENA, (a, b), strict=True)
        ),
    )


def _names(row: Row) -> Iterator[str]:
    if "response_a" in row or ARENA[0] in row:
        yield from "ab"
        return
    there = [name for name, value in row.items() if name.startswith("response_") and value]
    for number in range(1, len(there) + 1):
        if f"response_{number}" not in there:
            raise RowError(
                "is empty, but a later one is not",
                field=f"response_{number}",
                remedy="move the responses together",
            )
        yield str(number)


def judged_responses(row: Row, judge: str) -> list[JudgedGroup]:
    """The same with the `winner`; rows that name a `judge` are of that one."""
    group = responses(row)
    said = optional_text(row, "judge")
    judgement = Judgement(
        group_id=group.id,
        judge=f"{judge}/{said}" if said else judge,
        verdict=_verdict(row, group),
        order=tuple(range(group.k)),
    )
    return [JudgedGroup(group=group, judgements=(judgement,))]


def preferred_responses(row: Row) -> PreferenceGroup:
    """The preferences that follow from the `winner`."""
    group = responses(row)
    said = preferences_of(_verdict(row, group), range(group.k))
    return PreferenceGroup(group=group, preferences=said)


def _verdict(row: Row, group: Group) -> Choice | Tie:
    names = [*_names(row)]
    value = row["winner"]
    said = "".join(c for c in str(value).casefold() if c.isalnum())
    if said in _TIES:
        return Tie(both_bad=_TIES[said])
    for index, name in enumerate(names):
        if said in (name, f"response{name}", f"model{name}"):
            texts = [response.text for response in group.responses]
            if texts.count(texts[index]) > 1:
                raise RowError(
                    "the response is equal to the one it is compared with",
                    field="winner",
                    remedy="leave the row out, or write tie",
                )
            return Choice(chosen=index)
    raise RowError(
        f"expected {', '.join(names)}, tie or both_bad, found {described(value)}",
        field="winner",
        remedy=f"write who wins as {names[0]} or response_{names[0]}",
    )


def unjudged(row: Row) -> PreferenceGroup:
    """Refuses responses that nobody has compared."""
    del row
    raise RowError(
        "is missing: nobody has said which response is better",
        field="winner",
        remedy='name its column with columns = { winner = "COLUMN" } (--column winner=COLUMN), or '
        "import the rows with --kind groups to have people judge them",
    )
