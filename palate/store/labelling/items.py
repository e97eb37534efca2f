"""The questions of a project, made from its groups a few hundred at a time, when they are needed.

Starting costs the same for ten groups and for a million.
"""

import itertools
import random
from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from palate.maths.seeds import seed
from palate.records import Answer, Group, LabelTask
from palate.store import queries
from palate.store.labelling.errors import Refused
from palate.store.pseudonyms import BY_OWNER, BY_PERSON
from palate.store.schema import (
    AssignmentRow,
    GroupRow,
    ItemRow,
    MemberRow,
    ProjectRow,
    ResponseRow,
    TaskRow,
)

_CHUNK = 200


def task_of(connection: Connection, project: int) -> LabelTask:
    """How the project is labelled; projects that nobody configured have the default task."""
    body = connection.scalar(select(TaskRow.body).where(TaskRow.project_id == project))
    return LabelTask() if body is None else LabelTask.model_validate(body)


def has_task(connection: Connection, project: int) -> bool:
    """Whether somebody has said how the project is labelled, or was asked something in it."""
    found = select(TaskRow.project_id).where(TaskRow.project_id == project)
    return connection.scalar(found) is not None


def is_set_up(connection: Connection, project: int) -> bool:
    """Whether an owner has said what is asked, or people have answered what is asked by default."""
    row = connection.execute(select(TaskRow).where(TaskRow.project_id == project)).one_or_none()
    return row is not None and (row.set_up or row.answered > 0)


def is_fixed(connection: Connection, project: int) -> bool:
    """Whether somebody has given an answer: from then on the same is asked."""
    answered = select(AssignmentRow.id).where(
        AssignmentRow.project_id == project, AssignmentRow.state == "answered"
    )
    return connection.scalar(answered.limit(1)) is not None


def save_task(connection: Connection, project: int, task: LabelTask) -> None:
    """Set how the project is labelled; what is asked cannot change after the first answer."""
    members = select(MemberRow.person_id).where(MemberRow.project_id == project)
    in_order = members.order_by(MemberRow.person_id)  # as all who lock several
    connection.execute(in_order.with_for_update(key_share=True)).all()  # nobody is answering now
    row = connection.execute(
        select(TaskRow).where(TaskRow.project_id == project).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        _first_task(connection, project, task, set_up=True)
        return
    before = LabelTask.model_validate(row.body)
    values: dict[str, object] = {"body": task.model_dump(mode="json"), "set_up": True}
    if _asked(before) != _asked(task):
        _forget_items(connection, project)
        values |= {"enqueued": 0, "items": 0}
    elif before.arms and not task.arms:
        values |= {"enqueued": 0}  # look for what was not picked, from the start
    elif before.overlap != task.overlap:
        ordinary = (ItemRow.project_id == project, ItemRow.purpose == "ordinary")
        still = ItemRow.taken < task.overlap
        connection.execute(update(ItemRow).where(*ordinary).values(open=still))
    connection.execute(update(TaskRow).where(TaskRow.project_id == project).values(values))


def ensure_task(connection: Connection, project: int) -> None:
    """The default task for a project that nobody has set up."""
    if not has_task(connection, project):
        _first_task(connection, project, LabelTask(), set_up=False)


def _first_task(connection: Connection, project: int, task: LabelTask, *, set_up: bool) -> None:
    new = {"project_id": project, "enqueued": 0, "items": 0, "answered": 0, "set_up": set_up}
    connection.execute(insert(TaskRow).values(new | {"body": task.model_dump(mode="json")}))


def _asked(task: LabelTask) -> tuple[str, int, str]:
    return task.kind, task.pairs_per_group, task.compare


def _forget_items(connection: Connection, project: int) -> None:
    """Begin the queue again; checks stay, whose known answer says which response is better."""
    if is_fixed(connection, project):
        raise Refused("kind_is_fixed")
    connection.execute(delete(AssignmentRow).where(AssignmentRow.project_id == project))
    ordinary = (ItemRow.project_id == project, ItemRow.purpose == "ordinary")
    connection.execute(delete(ItemRow).where(*ordinary))
    begun = update(MemberRow).where(MemberRow.project_id == project)
    connection.execute(begun.values(cursor=0))


def enqueue(connection: Connection, project: int) -> int:
    """Make the items of the next groups and count them; 0 when every group has its items, or arms
    pick them."""
    row = connection.execute(
        select(TaskRow).where(TaskRow.project_id == project).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        ensure_task(connection, project)
        return enqueue(connection, project)
    task = LabelTask.model_validate(row.body)
    if task.arms:
        return 0
    added = 0
    enqueued = row.enqueued
    last = queries.last_position(connection, GroupRow, project)
    while not added and enqueued < last:
        to = min(enqueued + _CHUNK, last)
        asked = _questions(connection, project, task, enqueued, to)
        added += add_items(connection, project, asked)
        enqueued = to
    values = {"enqueued": enqueued, "items": TaskRow.items + added}
    connection.execute(update(TaskRow).where(TaskRow.project_id == project).values(values))
    return added


def add_items(
    connection: Connection,
    project: int,
    questions: Sequence[tuple[str, Sequence[int]]],
    *,
    purpose: str = "ordinary",
    expected: Answer | None = None,
) -> int:
    """Add (group id, responses shown) as items and count them."""
    first = next_position(connection, project)
    body = None if expected is None else expected.model_dump(mode="json")
    rows = [
        _item(project, position, group, shown) | {"purpose": purpose, "expected": body}
        for position, (group, shown) in enumerate(questions, first)
    ]
    if rows:
        connection.execute(insert(ItemRow), rows)
    return len(rows)


def ask_first(
    connection: Connection, project: int, group: str, shown: Sequence[int], *, added: int
) -> int:
    """Ask about a group before all others, and give the item's position: 0, -1, -2, ...

    `added` is 1 if the group has just come in, and 0 if it waited to be asked about already.
    """
    task = TaskRow.project_id == project
    row = connection.execute(
        select(TaskRow).where(task).with_for_update(key_share=True)
    ).one()  # positions are given out under its lock
    first = select(func.min(ItemRow.position)).where(ItemRow.project_id == project)
    lowest = connection.scalar(first)
    position = 0 if lowest is None else min(1, lowest) - 1
    item = _item(project, position, group, shown) | {"purpose": "ordinary", "expected": None}
    connection.execute(insert(ItemRow).values(item))
    last = queries.last_position(connection, GroupRow, project)
    reached = row.enqueued >= last - added  # else the group is passed when its turn comes
    passed = 1 if LabelTask.model_validate(row.body).arms else added * reached
    values = {"items": row.items + 1, "enqueued": min(row.enqueued + passed, last)}
    connection.execute(update(TaskRow).where(task).values(values))
    return position


def _item(project: int, position: int, group: str, shown: Sequence[int]) -> dict[str, object]:
    return {
        "project_id": project,
        "position": position,
        "group_id": group,
        "shown": list(shown),
        "taken": 0,
        "answered": 0,
        "open": True,
    }


def next_position(connection: Connection, project: int) -> int:
    """Where the next item will be, from 1 on."""
    last = select(func.max(ItemRow.position)).where(ItemRow.project_id == project)
    return max(0, connection.scalar(last) or 0) + 1


def _questions(
    connection: Connection, project: int, task: LabelTask, after: int, to: int
) -> list[tuple[str, Sequence[int]]]:
    policies: dict[str, list[str]] = {}
    has_items = exists(
        select(ItemRow.position).where(
            ItemRow.project_id == project,
            ItemRow.group_id == GroupRow.id,
            ItemRow.purpose == "ordinary",
        )
    )
    for id, policy in connection.execute(
        select(ResponseRow.group_id, ResponseRow.policy)
        .join(GroupRow)
        .where(GroupRow.project_id == project, GroupRow.position > after, GroupRow.position <= to)
        .where(~has_items)
        .order_by(GroupRow.position, ResponseRow.index)
    ):
        policies.setdefault(id, []).append(policy)
    return [
        (id, shown)
        for id, written in policies.items()
        for shown in shown_together(task, id, written)
    ]


def shown_together(task: LabelTask, group: str, policies: Sequence[str]) -> list[tuple[int, ...]]:
    """The sets of responses that are asked about: random pairs of a group, or all at once.

    Nothing is asked about a group in which a person wrote, because it is itself an answer.

    >>> shown_together(LabelTask(kind="ranking"), "g", ["sft", "dpo", "dpo"])
    [(0, 1, 2)]
    """
    if any(policy.startswith((BY_PERSON, BY_OWNER)) for policy in policies):
        return []
    k = len(policies)
    if task.kind == "rating" or (task.kind == "ranking" and k > 1):
        return [tuple(range(k))]
    pairs = list(itertools.combinations(range(k), 2))
    if task.compare == "policies":
        pairs = [(i, j) for i, j in pairs if policies[i] != policies[j]]
    if 0 < task.pairs_per_group < len(pairs):
        pairs = random.Random(seed(0, "pairs", group)).sample(pairs, task.pairs_per_group)
    return pairs if task.kind == "pairwise" else []


def balanced_order(shown: Sequence[int], number: int, *names: str | int) -> tuple[int, ...]:
    """The order in which a person sees responses: in every k questions in a row, each place of the
    stored order is shown at each place once.

    >>> sorted(balanced_order((0, 1), number, "ann") for number in (2, 3))
    [(0, 1), (1, 0)]
    """
    k = len(shown)
    block, turn = divmod(number, k)
    places = list(range(k))
    random.Random(seed(0, "order", block, *names)).shuffle(places)
    return tuple(shown[place] for place in (*places[turn:], *places[:turn]))


def group_of(connection: Connection, project: int, id: str) -> Group:
    """One group of a project, by its id."""
    position = connection.scalar(
        select(GroupRow.position).where(GroupRow.project_id == project, GroupRow.id == id)
    )
    assert position is not None
    return queries.group_page(connection, project, position - 1, position)[0]


def project_name(connection: Connection, project: int) -> str:
    """The name of a project."""
    name = select(ProjectRow.name).where(ProjectRow.id == project)
    return connection.scalars(name).one()
