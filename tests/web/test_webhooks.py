"""Webhooks reach a real receiver: signed, again until they are taken, and nowhere else."""

import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from palate.records import Choice, Judgement
from palate.store.database import Store
from palate.store.labelling import Desk
from palate.web.messages import News
from palate.web.signature import HEADER, is_signed, signed
from palate.web.webhooks import Announcer, Undelivered, Webhook
from tests.web.site import Site, group

SECRET = b"a secret of some length"


@dataclass
class Receiver:
    """A server that notes what it gets; it answers with these statuses, then 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""

    def wait(self, number: int) -> None:
        limit = time.monotonic() + 30
        while len(self.got) < number:
            assert time.monotonic() < limit, self.got
            time.sleep(0.01)


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append((self.path, self.headers[HEADER], body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://localhost:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


def judge(cafe: Site, i: int) -> None:
    said = Judgement(group_id=group(i).id, judge="person:ann", verdict=Choice(chosen=1))
    with Store(cafe.url) as store:
        store.add_judgements("cafe", [said])


def local(_: str) -> list[str]:
    return ["127.0.0.1"]


def test_news_is_sent_again_until_it_is_taken_and_redirects_are_not_followed(cafe: Site) -> None:
    with receiving(500, 302) as receiver:
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=local)
        judge(cafe, 0)
        with Announcer(cafe.desk, hook, poll_seconds=0.02):
            receiver.wait(3)
            judge(cafe, 1)
            receiver.wait(4)
            time.sleep(0.2)
    assert {path for path, _, _ in receiver.got} == {"/hook"}
    assert [json.loads(body)["judgements"] for _, _, body in receiver.got] == [1, 1, 1, 2]
    now = time.time()
    for _, header, body in receiver.got:
        assert is_signed(body, header, secret=SECRET, now=now)
        assert not is_signed(body + b" ", header, secret=SECRET, now=now)
        assert not is_signed(body, header, secret=SECRET + b"x", now=now)
        assert not is_signed(body, header, secret=SECRET, now=now + 400)


@contextmanager
def broken(url: str) -> Iterator[None]:
    """Every query about projects fails meanwhile."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE projects RENAME TO lost"))
    yield
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE lost RENAME TO projects"))
    engine.dispose()


def warned(caplog: pytest.LogCaptureFixture, begin: str, *, number: int) -> None:
    """So many warnings that begin like this come, and no more."""
    limit = time.monotonic() + 30
    while len([one for one in caplog.messages if one.startswith(begin)]) < number:
        assert time.monotonic() < limit, caplog.messages
        time.sleep(0.01)
    time.sleep(0.1)
    assert len([one for one in caplog.messages if one.startswith(begin)]) == number


def test_a_receiver_that_fails_twice_is_told_once_that_it_did_and_loses_nothing(
    cafe: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(503, 500) as receiver:
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=local)
        judge(cafe, 0)
        with Announcer(cafe.desk, hook, poll_seconds=0.02):
            warned(caplog, "webhook delivered after 2 failures", number=1)
            judge(cafe, 1)
            receiver.wait(4)
    assert [json.loads(body)["judgements"] for _, _, body in receiver.got] == [1, 1, 1, 2]
    assert caplog.messages == [
        "webhook not delivered, will be tried again: localhost answered 503",
        "webhook delivered after 2 failures",
    ]


def test_news_comes_when_a_database_that_failed_is_back(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = Judgement(group_id=group(0).id, judge="person:ann", verdict=Choice(chosen=1))
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
        store.add_judgements("cafe", [said])
    with receiving() as receiver, Desk(url) as desk, ExitStack() as trouble:
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=local)
        trouble.enter_context(broken(url))
        with Announcer(desk, hook, poll_seconds=0.02):
            warned(caplog, "webhook not delivered", number=1)
            assert receiver.got == []
            trouble.close()
            receiver.wait(1)
    assert json.loads(receiver.got[0][2])["judgements"] == 1
    assert re.match("webhook not delivered, .*(no such table|does not exist)", caplog.messages[0])
    assert caplog.messages[1].startswith("webhook delivered after")


@pytest.mark.slow  # SQLite waits 5 s for a lock before it gives up
def test_news_comes_when_a_database_that_was_locked_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "palate.db"
    with Store(f"sqlite:///{path}") as store:
        store.add_groups("cafe", [group(0)])
        said = Judgement(group_id=group(0).id, judge="person:ann", verdict=Choice(chosen=1))
        store.add_judgements("cafe", [said])
    with receiving() as receiver, Desk(f"sqlite:///{path}") as desk:
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=local)
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("PRAGMA locking_mode=EXCLUSIVE")
        locker.execute("BEGIN EXCLUSIVE")
        locker.execute("UPDATE projects SET name = name")
        with Announcer(desk, hook, poll_seconds=0.02):
            warned(caplog, "webhook not delivered", number=1)
            assert receiver.got == []
            locker.execute("COMMIT")
            locker.close()
            receiver.wait(1)
    assert json.loads(receiver.got[0][2])["judgements"] == 1
    assert "locked" in caplog.messages[0]


@pytest.mark.slow  # a delivery under way has two seconds
def test_a_server_that_stops_does_not_wait_for_a_receiver_that_hangs(cafe: Site) -> None:
    judge(cafe, 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hook = Webhook(url=f"http://localhost:{port}/", secret=SECRET, resolve=local)
        with Announcer(cafe.desk, hook, poll_seconds=0.02):
            taken, _ = silent.accept()
            began = time.monotonic()
        assert time.monotonic() - began < 4
        taken.close()


def test_a_server_that_stops_does_not_wait_for_the_next_attempt(cafe: Site) -> None:
    judge(cafe, 0)
    with receiving(*[500] * 100) as receiver:
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=local)
        with Announcer(cafe.desk, hook, poll_seconds=0.4):
            receiver.wait(1)
            began = time.monotonic()
        assert time.monotonic() - began < 0.8
    assert len(receiver.got) == 1


def test_the_signature_covers_the_time() -> None:
    header = signed(b"{}", secret=SECRET, now=1000.0)
    later = header.replace("t=1000", "t=1001")
    assert is_signed(b"{}", header, secret=SECRET, now=1000.0)
    assert not is_signed(b"{}", later, secret=SECRET, now=1000.0)


def test_a_public_host_is_never_reached_at_a_private_address() -> None:
    news = News(project=1, name="cafe", judgements=1)
    with receiving() as receiver:
        answers = iter([["93.184.216.34"], ["127.0.0.1"], ["169.254.169.254"], ["::1"]])
        hook = Webhook(url=receiver.url, secret=SECRET, resolve=lambda _: next(answers))
        for _ in range(3):
            with pytest.raises(Undelivered, match="private address"):
                hook.deliver(news, now=0)
    assert receiver.got == []


@pytest.mark.parametrize(
    "url", ["ftp://localhost/", "localhost", "http://", "http://u:p@localhost"]
)
def test_only_plain_web_addresses_are_receivers(url: str) -> None:
    with pytest.raises(ValueError, match="write https"):
        Webhook(url=url, secret=SECRET, resolve=local)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        Webhook(url="http://localhost/", secret=b"short", resolve=local)
