"""The app over a small database: served on a port for browsers, or called directly."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.testclient import TestClient

from palate.records import Group, LabelTask, Response, user_prompt
from palate.store import queries
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, items
from palate.web.app import create_app
from palate.web.security import RateLimits
from palate.web.visitor import COOKIE

PROJECT = 1
PASSWORD = "correct horse battery"
GENEROUS = RateLimits({"login": 10_000, "change": 100_000, "read": 100_000})


def group(i: int, k: int = 2) -> Group:
    responses = tuple(Response(text=f"answer {i}.{j}", policy=f"policy-{j}") for j in range(k))
    return Group(prompt=user_prompt(f"question {i}"), responses=responses)


@dataclass
class Site:
    """An app, its database, its people, and what went wrong in their browsers."""

    url: str
    desk: Desk
    root: Path
    address: str = ""
    errors: list[str] = field(default_factory=list)

    def person(self, name: str, role: accounts.Role | None = "annotator") -> int:
        """An account; a member of the project unless the role is None."""
        with self.desk.writing() as connection:
            made = accounts.add_person(connection, name, "no hash", owner=False, now=0)
            if role:
                accounts.join(connection, PROJECT, made.id, role, now=0)
        return made.id

    def session(self, person: int) -> str:
        """The secret of a session of somebody."""
        with self.desk.writing() as connection:
            now = self.desk.clock()
            return accounts.issue(connection, "session", now=now, lifetime=3600, person=person)

    def client(self, person: int | None = None) -> TestClient:
        """An HTTP client in which somebody has logged in."""
        app = create_app(self.desk, root=self.root, limits=GENEROUS)
        client = TestClient(app, follow_redirects=False)
        if person is not None:
            client.cookies.set(COOKIE, self.session(person))
        return client

    def judgements(self):
        with Store(self.url) as store:
            return list(store.judgements("cafe"))


def csrf(html: str) -> str:
    """The token of a page's forms."""
    found = re.search(r'name="csrf" value="(\w+)"', html)
    assert found, html[:2000]
    return found[1]


@contextmanager
def site(folder: Path, groups: Sequence[Group], *, url: str = "", **task: object) -> Iterator[Site]:
    """An app over an empty database (a new SQLite file unless named) with one project."""
    url = url or f"sqlite:///{folder / 'palate.db'}"
    with Store(url) as store:
        store.add_groups("cafe", groups)
    with Desk(url) as desk:
        with desk.writing() as connection:
            queries.open_project(connection, "cafe")
            items.save_task(connection, PROJECT, LabelTask.model_validate(task))
        yield Site(url=url, desk=desk, root=folder)


@contextmanager
def served(made: Site, limits: RateLimits = GENEROUS) -> Iterator[Site]:
    """The same app on a port."""
    app = create_app(made.desk, root=made.root, limits=limits)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    made.address = f"http://127.0.0.1:{port}"
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join()
    assert made.errors == []
