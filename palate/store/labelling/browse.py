"""All questions of a project, to look through: by state, by who answered, by what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, select

from palate.records import Answer, Group, Prompt
from palate.store.labelling.items import group_of
from palate.store.labelling.lease import CHECKS
from palate.store.labelling.review import decided, disputed
from palate.store.schema import (
    AssignmentRow,
    CommentRow,
    GroupRow,
    ItemRow,
    PersonRow,
    PromptRow,
    ResponseRow,
)

State = Literal[
    "any",
    "unanswered",
    "open",
    "answered",
    "disputed",
    "decided",
    "skipped",
    "check",
    "comment",
]
"""What may be asked of a question: `open` wants more answers, `disputed` has different ones, and a
`comment` about it waits for an owner."""
_LOOKED_AT = 5_000
"""Questions whose text is read for one page."""
_WINDOW = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which questions to show: in a state, answered by a person (0: by anybody or nobody), with
    words in the prompt or in a response."""

    state: State = "any"
    person: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and what people said about it, by name."""

    item: int
    group: Group
    shown: tuple[int, ...]
    purpose: str
    open: bool
    decided: bool
    answers: tuple[tuple[str, Answer], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of questions; `next` is the position after which to go on, None at the end."""

    questions: tuple[Question, ...]
    next: int | None


def questions(
    connection: Connection, project: int, wanted: Wanted, *, after: int | None, limit: int
) -> Found:
    """The questions after a position (None: from the first) in the order in which they are asked.

    A search by text ends a page after 5,000 questions, so that no search takes long.
    """
    kept: list[Row[ItemRow]] = []
    looked_at = 0
    reached = after
    while len(kept) <= limit and looked_at < _LOOKED_AT:
        size = _WINDOW if wanted.text else limit + 1
        rows = connection.execute(_matching(project, wanted, reached).limit(size)).all()
        kept += _with_text(connection, project, rows, wanted.text)
        looked_at += len(rows)
        if len(rows) < size:
            reached = None
            break
        reached = rows[-1].position
    if len(kept) > limit:
        reached = kept[limit - 1].position
    shown = tuple(_question(connection, project, row) for row in kept[:limit])
    return Found(questions=shown, next=reached)


def _matching(project: int, wanted: Wanted, after: int | None) -> Select[ItemRow]:
    where = [ItemRow.project_id == project, *_in_state(project, wanted.state)]
    if after is not None:
        where.append(ItemRow.position > after)
    if wanted.person:
        theirs = _given(AssignmentRow.state == "answered", AssignmentRow.person_id == wanted.person)
        where.append(theirs)
    return select(ItemRow).where(*where).order_by(ItemRow.position)


def _given(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    about = (AssignmentRow.project_id == ItemRow.project_id) & (
        AssignmentRow.item == ItemRow.position
    )
    ordinary = AssignmentRow.purpose.not_in(("adjudication", "repeat"))
    return exists(select(AssignmentRow.id).where(about, ordinary, *where))


def _in_state(project: int, state: State) -> Sequence[ColumnElement[bool]]:
    ordinary = ItemRow.purpose == "ordinary"
    is_decided = ItemRow.position.in_(decided(project))
    states: dict[State, Sequence[ColumnElement[bool]]] = {
        "any": (),
        "unanswered": (ordinary, ItemRow.answered == 0, ~is_decided),
        "open": (ordinary, ItemRow.open.is_(True)),
        "answered": (_given(AssignmentRow.state == "answered"),),
        "disputed": (ItemRow.position.in_(disputed(project)),),
        "decided": (is_decided,),
        "skipped": (_given(AssignmentRow.state == "skipped"),),
        "check": (ItemRow.purpose.in_(CHECKS),),
        "comment": (
            ItemRow.group_id.in_(
                select(CommentRow.group_id).where(
                    CommentRow.project_id == project, CommentRow.settled.is_(False)
                )
            ),
        ),
    }
    return states[state]


def _with_text(
    connection: Connection, project: int, rows: Sequence[Row[ItemRow]], text: str
) -> list[Row[ItemRow]]:
    if not text:
        return list(rows)
    ids = {row.group_id for row in rows}
    said: dict[str, list[str]] = {}
    prompts = select(GroupRow.id, PromptRow.body).join(PromptRow)
    for id, body in connection.execute(
        prompts.where(GroupRow.project_id == project, GroupRow.id.in_(ids))
    ):
        turns = Prompt.model_validate(body).messages
        said.setdefault(id, []).extend(turn.content for turn in turns)
    for id, body in connection.execute(
        select(ResponseRow.group_id, ResponseRow.body).where(
            ResponseRow.project_id == project, ResponseRow.group_id.in_(ids)
        )
    ):
        said.setdefault(id, []).append(str(body["text"]))
    needle = text.casefold()
    has = {id for id, texts in said.items() if any(needle in t.casefold() for t in texts)}
    return [row for row in rows if row.group_id in has]


def _question(connection: Connection, project: int, row: Row[ItemRow]) -> Question:
    given = connection.execute(
        select(PersonRow.name, AssignmentRow.purpose, AssignmentRow.answer)
        .join(PersonRow, PersonRow.id == AssignmentRow.person_id)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.item == row.position,
            AssignmentRow.state.in_(("answered", "skipped")),
            AssignmentRow.purpose != "repeat",
        )
        .order_by(AssignmentRow.id)
    ).all()
    return Question(
        item=row.position,
        group=group_of(connection, project, row.group_id),
        shown=tuple(row.shown),
        purpose=row.purpose,
        open=row.open,
        decided=any(purpose == "adjudication" for _, purpose, _ in given),
        answers=tuple(
            (name, Answer.model_validate(answer))
            for name, purpose, answer in given
            if purpose != "adjudication"
        ),
    )
