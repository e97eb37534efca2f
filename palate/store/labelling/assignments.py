"""What one person is asked: an item with its group, and what fits it as an answer."""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, exists, select

from palate.records import Answer, Choice, Group, LabelTask, Ranking, Rating, Skip, Tie, Verdict
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import group_of, task_of
from palate.store.schema import AssignmentRow, Body, ItemRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An item as its annotator sees it: the group, and in which order its responses are shown.

    `expected` is the known answer of a check.
    """

    id: str
    project: int
    item: int
    purpose: str
    number: int
    revision: int
    state: str
    order: tuple[int, ...]
    created_at: float
    expires_at: float
    draft: Body
    group: Group
    task: LabelTask
    expected: Answer | None

    @property
    def shown(self) -> tuple[int, ...]:
        """The responses in question, in the order of the group."""
        return tuple(sorted(self.order))


def assignment(connection: Connection, project: int, person: int, id: str) -> Assignment:
    """A person's own assignment in a project; anybody else's is refused as if it did not exist."""
    row = own_row(connection, project, person, id)
    item = connection.execute(
        select(ItemRow.group_id, ItemRow.expected).where(
            ItemRow.project_id == project, ItemRow.position == row.item
        )
    ).one()
    return Assignment(
        id=row.id,
        project=project,
        item=row.item,
        purpose=row.purpose,
        number=row.number,
        revision=row.revision,
        state=row.state,
        order=tuple(row.order),
        created_at=row.created_at,
        expires_at=row.expires_at,
        draft=row.draft or {},
        group=group_of(connection, project, item.group_id),
        task=task_of(connection, project),
        expected=None if item.expected is None else Answer.model_validate(item.expected),
    )


def own_row(connection: Connection, project: int, person: int, id: str) -> Row[AssignmentRow]:
    """A person's own assignment as it is stored, locked until the transaction ends."""
    row = connection.execute(
        select(AssignmentRow)
        .where(
            AssignmentRow.id == id,
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
        )
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise Refused("no_assignment")
    return row


def is_decided(connection: Connection, project: int, item: int) -> bool:
    """Whether a reviewer has decided about an item."""
    about = (AssignmentRow.project_id == project, AssignmentRow.item == item)
    found = select(exists().where(*about, AssignmentRow.purpose == "adjudication"))
    return bool(connection.scalar(found))


def check_shape(answer: Answer, asked: Assignment) -> None:
    """Refuse verdicts that do not fit the item."""
    if not answer.verdicts or not all(_fits(v, asked) for v in answer.verdicts):
        raise Refused("answer_does_not_fit")


def _fits(verdict: Verdict, asked: Assignment) -> bool:
    k = asked.group.k
    kind = asked.task.kind
    match verdict:
        case Choice(chosen=chosen):
            return kind == "pairwise" and chosen in asked.shown
        case Tie():
            return kind != "rating"
        case Ranking(ranks=ranks):
            return kind == "ranking" and len(ranks) == k and any(rank == 0 for rank in ranks)
        case Rating(dimension=dimension, values=values):
            return kind == "rating" and len(values) == k and dimension in asked.task.dimensions
        case Skip():
            return True
        case _:
            return False
