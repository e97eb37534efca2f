"""The history of the tables as Alembic revisions, applied when a database is opened."""
