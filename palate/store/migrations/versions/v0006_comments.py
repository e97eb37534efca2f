"""What people tell the owners about questions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def _seconds() -> sa.Double[float]:
    return sa.Double()


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "comments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.String(16), nullable=False),
        sa.Column("person_id", sa.Integer(), sa.ForeignKey("people.id"), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("at", _seconds(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        sa.Index("ix_comments_group", "project_id", "group_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("comments")
