"""`palate label`: the app on a port of this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from palate.store.labelling import Desk, accounts
from palate.web.app import create_app


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the app is, and the token for its first account (empty once there is one)."""

    url: str
    token: str


def serve(
    url: str, *, project: str, host: str, port: int, root: Path, ready: Callable[[Address], None]
) -> None:
    """Open the database and serve the app until it is stopped."""
    with Desk(url) as desk:
        address = Address(url=f"http://{host}:{port}/", token="")
        with desk.writing() as connection:
            if project:
                found = accounts.project_named(connection, project)
                address = Address(url=f"{address.url}projects/{found}/label", token="")
            if not accounts.has_people(connection):
                token = accounts.first_run_token(connection, now=desk.clock())
                address = Address(url=f"http://{host}:{port}/setup?token={token}", token=token)
        ready(address)
        uvicorn.run(
            create_app(desk, root=root),
            host=host,
            port=port,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
        )
