"""Invitations to several projects, who made a secret, and whether a project was set up."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_tokens = sa.table(
    "tokens",
    sa.column("hash", sa.String),
    sa.column("kind", sa.String),
    sa.column("person_id", sa.Integer),
    sa.column("made_by", sa.Integer),
    sa.column("project_id", sa.Integer),
    sa.column("role", sa.String),
    sa.column("name", sa.String),
)
_grants = sa.table(
    "grants",
    sa.column("hash", sa.String),
    sa.column("project_id", sa.Integer),
    sa.column("role", sa.String),
)


def upgrade() -> None:
    """Add what is new; open invitations keep their project as their only one."""
    op.create_table(
        "grants",
        sa.Column("hash", sa.String(64), sa.ForeignKey("tokens.hash"), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Index("ix_grants_project", "project_id"),
    )
    op.add_column("tokens", sa.Column("made_by", sa.Integer(), nullable=True))
    set_up = sa.Column("set_up", sa.Boolean(), nullable=False, server_default=sa.true())
    op.add_column("tasks", set_up)
    op.create_index("ix_assignments_answered", "assignments", ["project_id", "answered_at"])
    connection = op.get_bind()
    invited = sa.select(_tokens.c.hash, _tokens.c.project_id, _tokens.c.role).where(
        _tokens.c.kind == "invitation", _tokens.c.project_id.is_not(None)
    )
    columns = ["hash", "project_id", "role"]
    connection.execute(_grants.insert().from_select(columns, invited))
    connection.execute(
        _tokens.update()
        .where(_tokens.c.kind == "invitation")
        .values(project_id=None, role="", name="")
    )
    connection.execute(
        _tokens.update()
        .where(_tokens.c.kind == "api")
        .values(made_by=_tokens.c.person_id, person_id=None)
    )


def downgrade() -> None:
    """Take it away again; open invitations end."""
    connection = op.get_bind()
    op.drop_table("grants")
    connection.execute(_tokens.delete().where(_tokens.c.kind.in_(["invitation", "reset"])))
    connection.execute(
        _tokens.update().where(_tokens.c.kind == "api").values(person_id=_tokens.c.made_by)
    )
    op.drop_index("ix_assignments_answered", "assignments")
    op.drop_column("tasks", "set_up")
    op.drop_column("tokens", "made_by")
