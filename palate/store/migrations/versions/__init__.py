"""One file per revision; a new one is written by hand and checked against `schema.py` by a test."""
