"""The database as people meet it: who they are, what they are asked, and what became of it."""

from palate.store.labelling.desk import Desk, audit

__all__ = ["Desk", "audit"]
