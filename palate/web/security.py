"""What every response carries, and what every request has to show.

Pages run no inline script or style and load nothing from elsewhere; a browser that is told so
refuses the rest. Requests that change something need the page's token and have to come from it.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palate.web.messages import LARGEST_BODY

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
LARGEST_UPLOAD = 20_000_000
"""Bytes of a request with a file."""
_UPLOAD = re.compile(r"/projects/[0-9]+/data/uploads")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Adds the headers, refuses large bodies, and refuses changes that other sites ask for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _refusal(scope["method"], headers, scope["path"])

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    if name not in sent:
                        sent[name] = value
            await send(message)

        if refusal:
            await _refuse(with_headers, refusal)
        else:
            await self._app(scope, receive, with_headers)


Front = Literal["none", "tls-proxy"]
"""What stands between this server and its visitors."""


class BehindTls:
    """Takes the proxy's word: visitors came by https, from the last address of `X-Forwarded-For`.

    Only for a server that nobody but its proxy can reach: anybody can write that header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            said = Headers(scope=scope).getlist("x-forwarded-for")
            address = said[-1].rpartition(",")[2].strip() if said else ""
            scope = {**scope, "scheme": "https"} | ({"client": (address, 0)} if address else {})
        await self._app(scope, receive, send)


def _refusal(method: str, headers: Headers, path: str) -> int:
    """The status with which a request is refused; 0 if it is not."""
    if method in _SAFE:
        return 0
    length = headers.get("content-length")
    if length is None:
        return 411
    largest = LARGEST_UPLOAD if _UPLOAD.fullmatch(path) else LARGEST_BODY
    if not length.isdigit() or int(length) > largest:
        return 413
    return 0 if from_same_origin(headers) else 403


def from_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this server, as far as the browser says."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


async def _refuse(send: Send, status: int) -> None:
    body = b"refused"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def csrf_token(session: str) -> str:
    """The token that the forms of a session carry; it says nothing about the session's secret."""
    return hmac.new(session.encode(), b"forms", hashlib.sha256).hexdigest()


def same(first: str, second: str) -> bool:
    """Equality in a time that does not depend on where two texts differ."""
    return secrets.compare_digest(first.encode(), second.encode())


_hasher = PasswordHasher()
_DECOY = _hasher.hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    """An Argon2id hash."""
    return _hasher.hash(password)


def check_password(password: str, stored: str | None) -> bool:
    """Whether a password is right; an unknown account takes the same time."""
    try:
        return _hasher.verify(stored or _DECOY, password) and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


Limit = Literal["login", "change", "read"]
_PER_MINUTE: dict[Limit, int] = {"login": 10, "change": 240, "read": 1200}
_MOST_CALLERS = 10_000


class RateLimits:
    """How often a caller may do something: a bucket per caller that fills again every minute."""

    def __init__(self, per_minute: Mapping[Limit, int] | None = None) -> None:
        self._per_minute = per_minute or _PER_MINUTE
        self._buckets: OrderedDict[tuple[Limit, str], tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def admits(self, limit: Limit, caller: str) -> bool:
        """Whether the caller has something left, which is taken."""
        most = float(self._per_minute[limit])
        now = time.monotonic()
        with self._lock:
            left, at = self._buckets.pop((limit, caller), (most, now))
            left = min(most, left + (now - at) * most / 60)
            admitted = left >= 1
            self._buckets[limit, caller] = (left - admitted, now)
            if len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        return admitted
