"""Databases of every older version open, keep what they hold and get what is new."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from palate.records import Choice
from palate.store import migrations
from palate.store.connection import open_engine
from palate.store.database import Store
from palate.store.errors import DataError
from palate.store.labelling import Desk, accounts, answers, invitations, lease
from palate.store.pseudonyms import pseudonym
from palate.store.schema import Table
from tests.store.office import PROJECT, group


@contextmanager
def upgraded(url: str, revision: str) -> Iterator[Connection]:
    """A new database with the tables of a revision, to be filled."""
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()


def test_the_migrations_make_exactly_the_tables_of_the_schema(url):
    engine = open_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(url):
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(DataError, match=r"revision 9999, which .* not know. Remedy: upgrade"):
        Store(url)


def test_projects_of_an_older_database_get_a_key_each(url):
    """The key makes their annotators' pseudonyms."""
    with upgraded(url, "0003") as connection:
        for name in ("old", "older"):
            connection.execute(
                text("INSERT INTO projects (name, created_at) VALUES (:name, '2026-01-01')"),
                {"name": name},
            )
    with Store(url) as store:
        store.add_groups("new", [group(0)])
        names = {store.pseudonyms(name)("person:ann") for name in ("old", "older", "new")}
        assert store.pseudonyms("old")("person:ann") in names
    assert len(names) == 3
    assert names.isdisjoint({pseudonym("person:ann", key="0"), "person:ann"})


def test_a_database_of_the_first_revision_opens_keeps_its_data_and_can_be_labelled(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with upgraded(url, "0001") as connection:
        connection.execute(text("INSERT INTO projects VALUES (1, 'cafe', '2026-01-01')"))
        connection.execute(
            text(
                "INSERT INTO prompts VALUES (1, 'k', 'p', "
                '\'{"messages": [{"role": "user", "content": "Hi"}]}\')'
            )
        )
        connection.execute(text("INSERT INTO groups VALUES (1, 'g', 'k', 1)"))
        for index, word in enumerate(("yes", "no")):
            body = f'{{"text": "{word}"}}'
            insert = text("INSERT INTO responses VALUES (1, 'g', :index, '', :body)")
            connection.execute(insert, {"index": index, "body": body})
        connection.execute(
            text(
                "INSERT INTO judgements VALUES (1, 'j', 1, 'g', 'ann', 'choice', NULL, 'j', "
                "'2026-01-01', "
                '\'{"group_id": "g", "judge": "ann", '
                '"verdict": {"kind": "choice", "chosen": 1, "strength": 1}}\')'
            )
        )
    with Store(url) as store:
        (judgement,) = store.judgements("cafe")
        assert (judgement.verdict, judgement.reasons) == (Choice(chosen=1), ())
    with Desk(url) as desk, desk.writing() as connection:
        ann = accounts.add_person(connection, "ann", "hash", owner=True, now=0)
        accounts.join(connection, PROJECT, ann.id, "owner", now=0)
        asked = answers.assignment(
            connection, PROJECT, ann.id, lease.claim(connection, PROJECT, ann.id, now=0)
        )
    assert [r.text for r in asked.group.responses] == ["yes", "no"]


def test_open_invitations_and_api_tokens_of_an_older_database_stay_good(url):
    """What held before a secret had a maker and an invitation several projects."""
    with upgraded(url, "0004") as connection:
        for line in (
            "INSERT INTO projects (name, created_at, pseudonym_key) "
            "VALUES ('cafe', '2026-01-01', 'k')",
            "INSERT INTO people (name, password, owner, created_at) VALUES ('olga', 'h', true, 0)",
        ):
            connection.execute(text(line))
        for kind, person, role, name in (
            ("invitation", None, "reviewer", ""),
            ("api", 1, "write", "judge-v1"),
        ):
            insert = text(
                "INSERT INTO tokens (hash, kind, person_id, project_id, role, name, created_at, "
                "expires_at) VALUES (:hash, :kind, :person, 1, :role, :name, 0, 100)"
            )
            values = {"hash": accounts.digest(kind), "kind": kind, "person": person}
            connection.execute(insert, {**values, "role": role, "name": name})
    with Desk(url) as desk, desk.writing() as connection:
        api = accounts.token(connection, "api", "api", now=50)
        assert api is not None
        assert (api.made_by, api.project, api.role, api.name) == (1, 1, "write", "judge-v1")
        assert accounts.owns(connection, api.made_by, 1)
        ben = accounts.add_person(connection, "ben", "hash", owner=False, now=50)
        invitations.accept(connection, "invitation", ben.id, now=50)
        (entered,) = accounts.projects(connection, ben)
    assert (entered.name, entered.role) == ("cafe", "reviewer")
