"""Tells one server, which the operator named, that a project has new judgements.

What is sent says only how far the judgements reach: a message that is lost, late or sent twice does
no harm, because the next one says it again, and the judgements themselves need a token.
"""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
from sqlalchemy.exc import SQLAlchemyError

from palate.store import queries
from palate.store.labelling import Desk
from palate.web.messages import News
from palate.web.signature import HEADER, signed

_LONGEST_PAUSE = 300.0
"""Seconds between two attempts."""
_LAST_WORDS = 2.0
"""Seconds that a stopping server waits for a delivery under way."""
_log = logging.getLogger(__name__)


class Undelivered(Exception):
    """The receiver did not take a message."""


def addresses(host: str) -> list[str]:
    """The addresses of a host, as the system resolves it now."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_private(address: str) -> bool:
    return not ipaddress.ip_address(address.partition("%")[0]).is_global


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver, and the secret that it knows.

    A host with only public addresses at the start is never reached at a private one later.
    """

    url: str
    secret: bytes = field(repr=False)
    resolve: Callable[[str], list[str]] = addresses
    may_be_private: bool = field(init=False)

    def __post_init__(self) -> None:
        url = httpx.URL(self.url)
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise ValueError(f"--webhook {self.url}: write https://HOST/PATH")
        if len(self.secret) < 16:
            raise ValueError("the webhook's secret needs 16 characters or more")
        private = any(map(_is_private, self.resolve(url.host)))
        object.__setattr__(self, "may_be_private", private)

    def deliver(self, news: News, *, now: float) -> None:
        """Send a message once; no redirect is followed."""
        url = httpx.URL(self.url)
        address = self.resolve(url.host)[0]
        if _is_private(address) and not self.may_be_private:
            raise Undelivered(f"{url.host} has the private address {address} now")
        body = news.model_dump_json().encode()
        headers = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            HEADER: signed(body, secret=self.secret, now=now),
        }
        with (
            httpx.Client(trust_env=False, timeout=10) as client,
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers=headers,
                extensions={"sni_hostname": url.host},
            ) as reply,
        ):
            if not reply.is_success:
                raise Undelivered(f"{url.host} answered {reply.status_code}")


def named(url: str, secret: Path | None) -> Webhook | None:
    """The receiver that the command line names, with the secret in a file."""
    if bool(url) != bool(secret):
        raise ValueError("--webhook and --webhook-secret belong together: name both or neither")
    return Webhook(url=url, secret=secret.read_bytes().strip()) if secret else None


class Announcer:
    """A thread that looks for new judgements and sends the news until it is taken.

    Neither a receiver nor a database that fails ends it: it says so once, and tries again later.
    """

    def __init__(self, desk: Desk, hook: Webhook, *, poll_seconds: float = 1.0) -> None:
        self._desk = desk
        self._hook = hook
        self._poll = poll_seconds
        self._known: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        # what hangs longer ends with the process; the next start announces everything again
        self._thread.join(_LAST_WORDS)

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(backoff(failures, first=self._poll)):
            try:
                self._announce()
            except (httpx.HTTPError, OSError, Undelivered, SQLAlchemyError) as error:
                failures += 1
                if failures == 1:
                    problem = str(error).partition("\n")[0]
                    _log.warning("webhook not delivered, will be tried again: %s", problem)
            else:
                if failures:
                    _log.warning("webhook delivered after %d failures", failures)
                failures = 0

    def _announce(self) -> None:
        for news in self._news():
            if self._stop.is_set():
                return
            self._hook.deliver(news, now=self._desk.clock())
            self._known[news.project] = news.judgements

    def _news(self) -> list[News]:
        with self._desk.reading() as connection:
            reached = queries.reached(connection)
        return [
            News(project=id, name=name, judgements=last)
            for id, name, last in reached
            if last > self._known.get(id, 0)
        ]


def backoff(failures: int, *, first: float) -> float:
    """Seconds until the next attempt: twice as long after every failure, five minutes at most.

    >>> [backoff(failures, first=1.0) for failures in (0, 1, 2, 3, 20)]
    [1.0, 2.0, 4.0, 8.0, 300.0]
    """
    return min(_LONGEST_PAUSE, first * 2 ** min(failures, 20))
