"""The labelling app: server-rendered pages over the database, for people in a browser."""
