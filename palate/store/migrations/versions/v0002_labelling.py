"""People, what they are asked, and what they did."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _seconds() -> sa.Double[float]:
    return sa.Double()


def upgrade() -> None:
    """Create the tables."""
    _questions()
    _people()
    _work()


def _questions() -> None:
    op.create_table(
        "tasks",
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("enqueued", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("project_id", sa.Integer(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("group_id", sa.String(16), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=True),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        sa.Index("ix_items_open", "project_id", "purpose", "open", "position"),
        sa.Index("ix_items_group", "project_id", "group_id"),
    )


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("owner", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", _seconds(), nullable=False),
    )
    op.create_table(
        "members",
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("person_id", sa.Integer(), sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("served", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Index("ix_members_person", "person_id"),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("person_id", sa.Integer(), sa.ForeignKey("people.id"), nullable=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", _seconds(), nullable=False),
        sa.Column("expires_at", _seconds(), nullable=False),
        sa.Index("ix_tokens_project", "project_id", "kind"),
        sa.Index("ix_tokens_person", "person_id", "kind"),
    )


def _work() -> None:
    op.create_table(
        "assignments",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _seconds(), nullable=False),
        sa.Column("expires_at", _seconds(), nullable=False),
        sa.Column("answered_at", _seconds(), nullable=True),
        sa.Column("draft", sa.JSON(), nullable=True),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("best", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["project_id", "item"], ["items.project_id", "items.position"]),
        sa.ForeignKeyConstraint(
            ["project_id", "person_id"], ["members.project_id", "members.person_id"]
        ),
        sa.UniqueConstraint(
            "project_id", "person_id", "item", "purpose", name="uq_assignments_item"
        ),
        sa.Index("ix_assignments_number", "project_id", "person_id", "number"),
        sa.Index("ix_assignments_state", "project_id", "state", "expires_at"),
        sa.Index("ix_assignments_item", "project_id", "item"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", _seconds(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Index("ix_audit_project", "project_id", "id"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("audit", "assignments", "tokens", "members", "people", "items", "tasks"):
        op.drop_table(table)
