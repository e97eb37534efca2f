"""The tables: a record's content is one JSON column, exact; other columns are what queries need."""

import secrets
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Body = dict[str, object]


class Table(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {  # noqa: RUF012 - read once, by the metaclass
        Body: JSON,
        list[int]: JSON,
        datetime: DateTime(timezone=True),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _key() -> str:
    return secrets.token_hex(32)


class ProjectRow(Table):
    """A project: prompts, groups and judgements that belong together.

    `pseudonym_key` makes the names under which its annotators appear in exports.
    """

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    pseudonym_key: Mapped[str] = mapped_column(String(64), default=_key, server_default="")


class PromptRow(Table):
    """A prompt. `key` hashes all of it; `prompt_id` is the record's id, which leaves out the
    reference and the tag."""

    __tablename__ = "prompts"
    __table_args__ = (Index("ix_prompts_prompt_id", "project_id", "prompt_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    prompt_id: Mapped[str] = mapped_column(String(16))
    body: Mapped[Body]


class GroupRow(Table):
    """A group; `position` is its place in the order in which the project's groups were added."""

    __tablename__ = "groups"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "prompt_key"], ["prompts.project_id", "prompts.key"]),
        UniqueConstraint("project_id", "position", name="uq_groups_position"),
    )

    project_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    prompt_key: Mapped[str] = mapped_column(String(16))
    position: Mapped[int]


class ResponseRow(Table):
    """Response number `index` of a group, and which policy wrote it."""

    __tablename__ = "responses"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        Index("ix_responses_policy", "project_id", "policy"),
    )

    project_id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str]
    body: Mapped[Body]


class JudgementRow(Table):
    """A judgement, never changed: a correction is a new row that `supersedes` the old one.

    `client_key` is unique in its project: a client that sends the same key again adds nothing.
    """

    __tablename__ = "judgements"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        ForeignKeyConstraint(
            ["project_id", "supersedes"], ["judgements.project_id", "judgements.id"]
        ),
        UniqueConstraint("project_id", "position", name="uq_judgements_position"),
        UniqueConstraint("project_id", "client_key", name="uq_judgements_client_key"),
        Index("ix_judgements_group", "project_id", "group_id"),
        Index("ix_judgements_supersedes", "project_id", "supersedes"),
    )

    project_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    position: Mapped[int]
    group_id: Mapped[str] = mapped_column(String(16))
    judge: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))
    supersedes: Mapped[str | None] = mapped_column(String(16))
    client_key: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=_now)
    body: Mapped[Body]


class TaskRow(Table):
    """How a project is labelled; groups up to position `enqueued` have their items.

    `items` and `answered` count, so that no page has to; `set_up` is whether an owner has said what
    is asked. Here and below, times are seconds since 1970, UTC.
    """

    __tablename__ = "tasks"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    enqueued: Mapped[int] = mapped_column(default=0)
    items: Mapped[int] = mapped_column(default=0)
    answered: Mapped[int] = mapped_column(default=0)
    body: Mapped[Body]
    set_up: Mapped[bool] = mapped_column(default=True, server_default=true())


class ItemRow(Table):
    """A question: responses `shown` of a group. `taken` counts its answers and live leases; it is
    `open` while more are wanted. Checks have the `expected` verdict."""

    __tablename__ = "items"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        Index("ix_items_open", "project_id", "purpose", "open", "position"),
        Index("ix_items_group", "project_id", "group_id"),
    )

    project_id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(String(16))
    shown: Mapped[list[int]]
    purpose: Mapped[str] = mapped_column(String(16))
    expected: Mapped[Body | None]
    taken: Mapped[int] = mapped_column(default=0)
    answered: Mapped[int] = mapped_column(default=0)
    open: Mapped[bool] = mapped_column(default=True, server_default=true())


class PersonRow(Table):
    """Somebody who can log in; the `owner` of the installation may enter every project."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str]
    owner: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[float]


class MemberRow(Table):
    """A person in a project. `served` counts the assignments given, which balances the order of
    responses, and `answered` the answers; everything up to `cursor` was dealt with."""

    __tablename__ = "members"
    __table_args__ = (Index("ix_members_person", "person_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(default="")
    served: Mapped[int] = mapped_column(default=0)
    answered: Mapped[int] = mapped_column(default=0)
    cursor: Mapped[int] = mapped_column(default=0)


class TokenRow(Table):
    """A secret that somebody holds, as SHA-256: a first-run token, the session or the new password
    of `person_id`, an invitation or an API token, whose `name` its maker chose and whose `role` is
    what it may do."""

    __tablename__ = "tokens"
    __table_args__ = (
        Index("ix_tokens_project", "project_id", "kind"),
        Index("ix_tokens_person", "person_id", "kind"),
    )

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    made_by: Mapped[int | None]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    role: Mapped[str] = mapped_column(String(16), default="")
    name: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[float]
    expires_at: Mapped[float]


class GrantRow(Table):
    """A project that an invitation opens, and in which role."""

    __tablename__ = "grants"
    __table_args__ = (Index("ix_grants_project", "project_id"),)

    hash: Mapped[str] = mapped_column(ForeignKey("tokens.hash"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))


class AssignmentRow(Table):
    """An item given to a person: a lease until `expires_at`, then what they answered.

    `number` counts a person's assignments in the project and `revision` how often this one was
    undone; `order` is the order in which the responses are shown, and `best` are those that the
    answer puts first.
    """

    __tablename__ = "assignments"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item"], ["items.project_id", "items.position"]),
        ForeignKeyConstraint(
            ["project_id", "person_id"], ["members.project_id", "members.person_id"]
        ),
        UniqueConstraint("project_id", "person_id", "item", "purpose", name="uq_assignments_item"),
        Index("ix_assignments_number", "project_id", "person_id", "number"),
        Index("ix_assignments_state", "project_id", "state", "expires_at"),
        Index("ix_assignments_item", "project_id", "item"),
        Index("ix_assignments_answered", "project_id", "answered_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project_id: Mapped[int]
    item: Mapped[int]
    person_id: Mapped[int]
    purpose: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    revision: Mapped[int] = mapped_column(default=0)
    order: Mapped[list[int]]
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[float]
    expires_at: Mapped[float]
    answered_at: Mapped[float | None]
    draft: Mapped[Body | None]
    answer: Mapped[Body | None]
    best: Mapped[str] = mapped_column(default="")


class LivePromptRow(Table):
    """A prompt that a person put to the policies of an arena; its `assignment` is empty until they
    have answered, and `problem` says why they cannot. Somebody is at it since `taken_at`."""

    __tablename__ = "live_prompts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "person_id"], ["members.project_id", "members.person_id"]
        ),
        Index("ix_live_prompts_waiting", "project_id", "assignment", "created_at"),
        Index("ix_live_prompts_person", "project_id", "person_id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project_id: Mapped[int]
    person_id: Mapped[int]
    body: Mapped[Body]
    created_at: Mapped[float]
    taken_at: Mapped[float | None]
    assignment: Mapped[str] = mapped_column(String(32), default="")
    problem: Mapped[str] = mapped_column(String(32), default="")


class CommentRow(Table):
    """What a person tells the owners about a group; `settled` once somebody dealt with it."""

    __tablename__ = "comments"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        Index("ix_comments_group", "project_id", "group_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int]
    group_id: Mapped[str] = mapped_column(String(16))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    text: Mapped[str]
    at: Mapped[float]
    settled: Mapped[bool] = mapped_column(default=False, server_default=false())


class AuditRow(Table):
    """Who did what when; rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_project", "project_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    project_id: Mapped[int | None]
    person_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(String(32))
    detail: Mapped[Body]
