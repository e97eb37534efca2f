"""`palate label`: the app on a port of this machine."""

import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from palate.store.labelling import Desk, accounts, rights
from palate.web.app import create_app
from palate.web.security import Front
from palate.web.webhooks import Announcer, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the app is, and the token for its first account (empty once there is one)."""

    url: str
    token: str


def serve(
    url: str,
    *,
    project: str,
    host: str,
    port: int,
    root: Path,
    front: Front,
    hook: Webhook | None,
    ready: Callable[[Address], None],
) -> None:
    """Open the database and serve the app until it is stopped."""
    with (
        Desk(url) as desk,
        _listener(host, port) as listener,
        Announcer(desk, hook) if hook else nullcontext(),
    ):
        # asyncio does it only where a socket names its protocol; else pages wait 40 ms for an ACK
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"[{host}]" if ":" in host else host
        ready(_address(desk, f"http://{name}:{listener.getsockname()[1]}", project))
        config = uvicorn.Config(
            create_app(desk, root=root, front=front),
            log_level="warning",
            timeout_keep_alive=75,  # people read longer than the usual 5 s between two requests
            proxy_headers=False,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


def reset_secret(url: str, login: str) -> str:
    """What lets the holder of a login choose a new password, once, on the app's /passwords page."""
    with Desk(url) as desk, desk.writing() as connection:
        return rights.reset_link_on_the_server(connection, login, now=desk.clock())


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host))
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. "
            "Remedy: another --port or --host"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _address(desk: Desk, base: str, project: str) -> Address:
    with desk.writing() as connection:
        found = accounts.project_named(connection, project) if project else None
        if not accounts.has_people(connection):
            token = accounts.first_run_token(connection, now=desk.clock())
            return Address(url=f"{base}/setup?token={token}", token=token)
    return Address(url=f"{base}/projects/{found}/label" if found else f"{base}/", token="")
