"""What people answer: events that are appended, and undone by further events."""

from collections.abc import Mapping

from sqlalchemy import Connection, Row, select, update

from palate.records import (
    Answer,
    Group,
    Judgement,
    JudgementId,
    Ranking,
    Response,
    Skip,
    Verdict,
    preferred,
    standings,
)
from palate.store import queries
from palate.store.labelling.assignments import Assignment, assignment, check_shape, own_row
from palate.store.labelling.checks import Feedback, watch
from palate.store.labelling.desk import audit
from palate.store.labelling.errors import Refused
from palate.store.labelling.items import project_name, task_of
from palate.store.labelling.lease import count_item, member_of
from palate.store.pseudonyms import BY_PERSON
from palate.store.schema import (
    AssignmentRow,
    Body,
    JudgementRow,
    MemberRow,
    PersonRow,
    TaskRow,
)

UNDO_LIMIT = 10
"""How many questions back a person may go."""
EVENTS = 16
"""More judgements than one answer can make."""
CLOSED = ("answered", "skipped")
GIVEN_BACK = ("expired", "later")
"""What was taken from its person when its time was over, and what its person put off."""


def save_draft(
    connection: Connection, project: int, person: int, id: str, draft: Body, *, revision: int
) -> None:
    """Keep what a person has filled in so far; drafts of questions that are closed are dropped."""
    own_row(connection, project, person, id)
    connection.execute(
        update(AssignmentRow)
        .where(
            AssignmentRow.id == id,
            AssignmentRow.revision == revision,
            AssignmentRow.state.not_in(CLOSED),
        )
        .values(draft=draft)
    )


def submit(
    connection: Connection,
    project: int,
    person: int,
    id: str,
    answer: Answer,
    *,
    revision: int,
    now: float,
) -> Feedback | None:
    """Record an answer (or a skip) and say what a new annotator learns from it.

    Sending the same answer twice counts once. An answer whose lease has ended is kept and marked.
    """
    member = member_of(connection, project, person)
    asked = assignment(connection, project, person, id)
    if asked.state in CLOSED or asked.revision != revision:
        return None
    if member.state == "paused":
        raise Refused("paused")
    check_shape(answer, asked)
    late = asked.state in GIVEN_BACK or asked.expires_at <= now
    answer = answer.model_copy(update={"late": late})
    skipped = is_skip(answer)
    if asked.purpose == "ordinary":
        prefix = f"{asked.id}:{asked.revision - 1}:undone"
        append(connection, asked, person, answer, by_client_key(connection, project, prefix))
        gained = int(asked.state in GIVEN_BACK) - int(skipped)
        count_item(
            connection,
            project,
            asked.item,
            asked.task,
            taken=gained,
            answered=int(not skipped),
        )
        count_task(connection, project, int(not skipped))
    _close(connection, asked, answer, now=now)
    count_member(connection, project, person, int(not skipped))
    audit(
        connection,
        "skip" if skipped else "answer",
        at=now,
        project=project,
        person=person,
        detail={"assignment": id, "revision": revision, "late": late},
    )
    if skipped:
        return None
    return watch(connection, asked.task, member, asked.expected, answer, shown=asked.shown, now=now)


def undo(connection: Connection, project: int, person: int, *, now: float) -> str:
    """Reopen the last answered or skipped question of a person, and give its id."""
    member = member_of(connection, project, person)
    task = task_of(connection, project)
    if task.compare == "policies":
        raise Refused("no_undo_in_arena")
    if member.state == "qualifying":
        raise Refused("no_undo_in_qualifying")
    row = connection.execute(
        select(AssignmentRow)
        .where(
            AssignmentRow.project_id == project,
            AssignmentRow.person_id == person,
            AssignmentRow.state.in_(CLOSED),
            AssignmentRow.number > member.served - UNDO_LIMIT - 1,
        )
        .order_by(AssignmentRow.number.desc())
        .limit(1)
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise Refused("nothing_to_undo")
    skipped = row.state == "skipped"
    if row.purpose == "ordinary":
        _retract(connection, row, person)
        count_item(
            connection, project, row.item, task, taken=int(skipped), answered=-int(not skipped)
        )
        count_task(connection, project, -int(not skipped))
    count_member(connection, project, person, -int(not skipped))
    connection.execute(
        update(AssignmentRow)
        .where(AssignmentRow.id == row.id)
        .values(
            state="open",
            revision=row.revision + 1,
            expires_at=now + 60 * task.lease_minutes,
            answered_at=None,
        )
    )
    detail: Body = {"assignment": row.id, "revision": row.revision}
    audit(connection, "undo", at=now, project=project, person=person, detail=detail)
    return row.id


def is_skip(answer: Answer) -> bool:
    """Whether an answer says nothing about the responses."""
    return all(verdict.kind == "skip" for verdict in answer.verdicts)


def judge_name(connection: Connection, person: int) -> str:
    """The name of a person as a judge."""
    name = connection.scalars(select(PersonRow.name).where(PersonRow.id == person)).one()
    return BY_PERSON + name


def append(
    connection: Connection,
    asked: Assignment,
    person: int,
    answer: Answer,
    superseded: Mapping[int, JudgementId],
) -> None:
    """One judgement per verdict; and, with a better answer, the ranking that it implies. Each takes
    the place of the one of its number among those that are superseded."""
    name = project_name(connection, asked.project)
    judge = judge_name(connection, person)
    said: list[tuple[Group, Verdict, tuple[int, ...]]] = [
        (asked.group, verdict, asked.order) for verdict in answer.verdicts
    ]
    if better := improved(asked, answer, author=judge):
        group, verdict = better
        queries.insert_groups(connection, name, [group])
        said.append((group, verdict, (*asked.order, group.k - 1)))
    for number, (group, verdict, order) in enumerate(said):
        judgement = Judgement(
            group_id=group.id,
            judge=judge,
            verdict=verdict,
            order=order,
            seconds=answer.seconds,
            supersedes=superseded.get(number),
            reasons=answer.reasons,
            note=answer.note,
        )
        keys = {judgement.id: f"{asked.id}:{asked.revision}:{number}"}
        queries.insert_judgements(connection, name, [judgement], client_keys=keys)


def improved(asked: Assignment, answer: Answer, *, author: str) -> tuple[Group, Verdict] | None:
    """The group with the person's own text added, and its ranking: edited > chosen > rejected."""
    texts = [response.text for response in asked.group.responses]
    if not answer.better.strip() or answer.better in texts:
        return None
    written = Response(text=answer.better, policy=author)
    places = standings(answer.verdicts, asked.shown)
    ranks = tuple(places[i] + 1 if i in places else None for i in range(asked.group.k))
    group = Group(prompt=asked.group.prompt, responses=(*asked.group.responses, written))
    return group, Ranking(ranks=(*ranks, 0))


def _retract(connection: Connection, row: Row[AssignmentRow], person: int) -> None:
    prefix = f"{row.id}:{row.revision}"
    said = by_client_key(connection, row.project_id, prefix)
    take_back(connection, row.project_id, person, said, prefix=prefix)


def take_back(
    connection: Connection,
    project: int,
    person: int,
    said: Mapping[int, JudgementId],
    *,
    prefix: str,
) -> None:
    """Supersede judgements by events that say nothing."""
    name = project_name(connection, project)
    judge = judge_name(connection, person)
    for number, id in said.items():
        group = select(JudgementRow.group_id).where(
            JudgementRow.project_id == project, JudgementRow.id == id
        )
        event = Judgement(
            group_id=connection.scalars(group).one(),  # pyright: ignore[reportArgumentType]
            judge=judge,
            verdict=Skip(reason="undone"),
            supersedes=id,
        )
        keys = {event.id: f"{prefix}:undone:{number}"}
        queries.insert_judgements(connection, name, [event], client_keys=keys)


def by_client_key(connection: Connection, project: int, prefix: str) -> dict[int, JudgementId]:
    """The judgements of an answer by their numbers."""
    keys = {f"{prefix}:{number}": number for number in range(EVENTS)}
    found = connection.execute(
        select(JudgementRow.client_key, JudgementRow.id).where(
            JudgementRow.project_id == project, JudgementRow.client_key.in_(keys)
        )
    )
    return {keys[key]: JudgementId(id) for key, id in found}


def _close(connection: Connection, asked: Assignment, answer: Answer, *, now: float) -> None:
    connection.execute(
        update(AssignmentRow)
        .where(AssignmentRow.id == asked.id)
        .values(
            state="skipped" if is_skip(answer) else "answered",
            answered_at=now,
            answer=answer.model_dump(mode="json"),
            best=",".join(map(str, preferred(answer.verdicts, asked.shown))),
            draft=None,
        )
    )


def count_task(connection: Connection, project: int, change: int) -> None:
    """Change how many answers a project has."""
    connection.execute(
        update(TaskRow)
        .where(TaskRow.project_id == project)
        .values(answered=TaskRow.answered + change)
    )


def count_member(connection: Connection, project: int, person: int, change: int) -> None:
    """Change how many answers a member has given."""
    connection.execute(
        update(MemberRow)
        .where(MemberRow.project_id == project, MemberRow.person_id == person)
        .values(answered=MemberRow.answered + change)
    )
