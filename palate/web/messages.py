"""What programs and the server say to each other: the bodies of the API's requests and replies."""

from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator, Field

from palate.records import Group, Judgement, Record, unwritable

MOST = 400
"""Records in one request or reply."""
LARGEST_BODY = 2_000_000
"""Bytes of a request."""

T = TypeVar("T")


class Problem(Record):
    """Why a request was refused."""

    detail: str


class Mistake(Record):
    """What is wrong at one place of a request."""

    at: tuple[str | int, ...]
    problem: str


class Mistakes(Record):
    """Everything that is wrong with a request."""

    detail: tuple[Mistake, ...]


class Page(Record, Generic[T]):
    """Some records in order; `next` is the `after` of the following page, 0 at the end."""

    records: tuple[T, ...]
    next: int


def _written(records: object) -> object:
    """The records of a request, if all texts in them can be kept, as those of files have to be."""
    if bad := unwritable(records):
        raise ValueError(f"{bad.at}: {bad.problem}; take the character out")
    return records


class NewGroups(Record):
    """Groups to add; those that are there already stay as they are."""

    groups: Annotated[tuple[Group, ...], Field(max_length=MOST), BeforeValidator(_written)]


class NewJudgements(Record):
    """Judgements to add; `judge` is replaced by the token's name."""

    judgements: Annotated[tuple[Judgement, ...], Field(max_length=MOST), BeforeValidator(_written)]


class Added(Record):
    """How many records were new."""

    added: int


class News(Record):
    """What a webhook says: the project's judgements reach up to this position now.

    `GET /api/projects/{project}/judgements?after=` the last one that you know has the new ones.
    """

    project: int
    name: str
    judgements: int
