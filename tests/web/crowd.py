"""The app as a process, and people who answer over HTTP as fast as it lets them."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from palate.store.labelling import Desk, accounts
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, csrf


@contextmanager
def process(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`palate label` and its address; killed at the end."""
    words = ("--port", "0", "--db", url, "--root", str(folder))
    server = subprocess.Popen(
        [sys.executable, "-m", "palate", "label", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        found = re.search(r"http://\S+:\d+", server.stdout.readline())
        assert found
        yield server, found[0]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def sessions(url: str, number: int) -> list[str]:
    """The secrets of new annotators' sessions."""
    with Desk(url) as desk, desk.writing() as connection:
        now = desk.clock()
        made: list[str] = []
        for i in range(number):
            person = accounts.add_person(connection, f"p{i}", "no hash", owner=False, now=now).id
            accounts.join(connection, PROJECT, person, "annotator", now=now)
            made.append(
                accounts.issue(connection, "session", now=now, lifetime=3600, person=person)
            )
    return made


@dataclass
class Annotator:
    """Somebody who writes a note that is theirs alone on every answer.

    `sent` is the answer that was not acknowledged yet: a browser would send it again.
    """

    name: str
    session: str
    acknowledged: list[str] = field(default_factory=list)
    sent: tuple[str, dict[str, str]] | None = None
    problems: list[str] = field(default_factory=list)

    def work(self, address: str, pause: threading.Event) -> None:
        """Answer until the server is gone or has nothing left."""
        with httpx.Client(base_url=address, cookies={COOKIE: self.session}, timeout=30) as browser:
            try:
                while not pause.is_set() and (self.sent or self._read(browser)):
                    self._send(browser)
            except httpx.TransportError:
                pause.wait()

    def _read(self, browser: httpx.Client) -> bool:
        page = browser.get(f"/projects/{PROJECT}/label")
        asked = re.search(r'action="(/projects/\d+/assignments/\w+)"', page.text)
        if asked is None:
            if page.status_code != 200:
                self.problems.append(f"{page.status_code} {page.text[:500]}")
            return False
        note = f"{self.name} {len(self.acknowledged)}"
        revision = re.search(r'name="revision" value="(\d+)"', page.text)
        assert revision
        side = len(self.acknowledged) % 2  # who always chooses one side is paused
        answer = {"choice": f"{side}:3", "note": note, "revision": revision[1], "action": "answer"}
        self.sent = asked[1], answer | {"csrf": csrf(page.text)}
        return True

    def _send(self, browser: httpx.Client) -> None:
        assert self.sent is not None
        path, answer = self.sent
        reply = browser.post(path, data=answer)
        if reply.status_code == 303:
            self.acknowledged.append(answer["note"])
        else:
            self.problems.append(f"{reply.status_code} {reply.text[:500]}")
        self.sent = None
