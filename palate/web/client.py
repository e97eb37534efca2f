"""A project of a running `palate label`, for programs in Python.

It needs httpx and the records, nothing of the server.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

import httpx

from palate.records import Group, Judgement, Record
from palate.web.messages import LARGEST_BODY, MOST, Added, Page

_PAUSES = 120
"""How often a request waits its turn when the server says that there are too many."""
_ROOM = LARGEST_BODY - 1_000

AnyRecord = TypeVar("AnyRecord", Group, Judgement)


class Refusal(Exception):
    """The server did not do what was asked; `status` is HTTP's."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(f"the server answered {status}: {problem}")


class Client:
    """One project, through a token from its People page.

    Adding is idempotent: what is there already is left alone and not counted, so after an error the
    same call can be made again.
    """

    def __init__(
        self,
        url: str,
        *,
        project: int,
        token: str,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/projects/{project}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            transport=transport,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def groups(self) -> Iterator[Group]:
        """The project's groups in the order in which they were added, a page at a time."""
        return self._pages("/groups", Page[Group])

    def judgements(self) -> Iterator[Judgement]:
        """The judgements in force in the order in which they were added, a page at a time."""
        return self._pages("/judgements", Page[Judgement])

    def add_groups(self, groups: Iterable[Group]) -> int:
        """Add groups, about which people will be asked, and count the new ones."""
        return sum(self._add("groups", chunk) for chunk in _chunks(groups))

    def add_judgements(self, judgements: Iterable[Judgement]) -> int:
        """Add judgements in the token's name and count the new ones."""
        return sum(self._add("judgements", chunk) for chunk in _chunks(judgements))

    def _pages(self, path: str, page: type[Page[AnyRecord]]) -> Iterator[AnyRecord]:
        after = 0
        while True:
            reply = self._asked("GET", path, params={"after": after})
            read = page.model_validate(reply.json())
            yield from read.records
            after = read.next
            if not after:
                return

    def _add(self, what: str, chunk: list[str]) -> int:
        body = f'{{"{what}": [{",".join(chunk)}]}}'
        reply = self._asked(
            "POST", f"/{what}", content=body, headers={"Content-Type": "application/json"}
        )
        return Added.model_validate(reply.json()).added

    def _asked(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, int] | None = None,
        content: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        for _ in range(_PAUSES):
            reply = self._http.request(
                method, path, params=params, content=content, headers=headers
            )
            if reply.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(float(reply.headers.get("Retry-After", "1")))
        if not reply.is_success:
            raise Refusal(reply.status_code, reply.text[:2000])
        return reply


def _chunks(records: Iterable[Record]) -> Iterator[list[str]]:
    """Records as JSON, so many that a request may hold them."""
    chunk: list[str] = []
    size = 0
    for record in records:
        line = json.dumps(record.model_dump(mode="json"))
        if chunk and (len(chunk) == MOST or size + len(line) + 1 > _ROOM):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line) + 1
    if chunk:
        yield chunk
