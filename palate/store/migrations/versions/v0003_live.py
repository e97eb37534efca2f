"""Prompts that people put to policies."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _seconds() -> sa.Double[float]:
    return sa.Double()


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "live_prompts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", _seconds(), nullable=False),
        sa.Column("taken_at", _seconds(), nullable=True),
        sa.Column("assignment", sa.String(32), nullable=False),
        sa.Column("problem", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "person_id"], ["members.project_id", "members.person_id"]
        ),
        sa.Index("ix_live_prompts_waiting", "project_id", "assignment", "created_at"),
        sa.Index("ix_live_prompts_person", "project_id", "person_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("live_prompts")
