"""The tables: a record's content is one JSON column, exact; other columns are what queries need."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Body = dict[str, object]


class Table(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {  # noqa: RUF012 - read once, by the metaclass
        Body: JSON,
        datetime: DateTime(timezone=True),
    }


def _now() -> datetime:
    return datetime.now(UTC)


class ProjectRow(Table):
    """A project: prompts, groups and judgements that belong together."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)


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
