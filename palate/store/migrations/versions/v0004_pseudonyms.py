"""Every project has the key of its annotators' pseudonyms."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, and draw a key for every project that is there."""
    key = sa.Column("pseudonym_key", sa.String(64), nullable=False, server_default="")
    op.add_column("projects", key)
    projects = sa.table("projects", sa.column("id", sa.Integer), sa.column("pseudonym_key"))
    connection = op.get_bind()
    for id in connection.scalars(sa.select(projects.c.id)).all():
        drawn = secrets.token_hex(32)
        connection.execute(projects.update().where(projects.c.id == id).values(pseudonym_key=drawn))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("projects", "pseudonym_key")
