"""Projects, prompts, groups, responses and judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "prompts",
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("key", sa.String(16), primary_key=True),
        sa.Column("prompt_id", sa.String(16), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Index("ix_prompts_prompt_id", "project_id", "prompt_id"),
    )
    op.create_table(
        "groups",
        sa.Column("project_id", sa.Integer(), primary_key=True),
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("prompt_key", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "prompt_key"], ["prompts.project_id", "prompts.key"]
        ),
        sa.UniqueConstraint("project_id", "position", name="uq_groups_position"),
    )
    op.create_table(
        "responses",
        sa.Column("project_id", sa.Integer(), primary_key=True),
        sa.Column("group_id", sa.String(16), primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        sa.Index("ix_responses_policy", "project_id", "policy"),
    )
    op.create_table(
        "judgements",
        sa.Column("project_id", sa.Integer(), primary_key=True),
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.String(16), nullable=False),
        sa.Column("judge", sa.String(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("supersedes", sa.String(16), nullable=True),
        sa.Column("client_key", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["project_id", "group_id"], ["groups.project_id", "groups.id"]),
        sa.ForeignKeyConstraint(
            ["project_id", "supersedes"], ["judgements.project_id", "judgements.id"]
        ),
        sa.UniqueConstraint("project_id", "position", name="uq_judgements_position"),
        sa.UniqueConstraint("project_id", "client_key", name="uq_judgements_client_key"),
        sa.Index("ix_judgements_group", "project_id", "group_id"),
        sa.Index("ix_judgements_supersedes", "project_id", "supersedes"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("judgements", "responses", "groups", "prompts", "projects"):
        op.drop_table(table)
