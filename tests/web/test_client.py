"""The Python client against the running app."""

import subprocess
import sys

import pytest

from palate.records import Choice, Group, Judgement, Response, user_prompt
from palate.store.database import Store
from palate.web.client import Client, Refusal
from palate.web.security import RateLimits
from tests.web.site import PROJECT, Site, group, served
from tests.web.test_api import program


def client(made: Site, scope: str) -> Client:
    token = program(made, scope).headers["authorization"].removeprefix("Bearer ")
    return Client(made.address, project=PROJECT, token=token)


def test_groups_and_judgements_travel_both_ways(cafe: Site) -> None:
    with served(cafe), client(cafe, "write") as there:
        new = [group(i) for i in range(1000, 1801)]
        assert there.add_groups(new) == 801
        assert there.add_groups(new[:3]) == 0
        assert list(there.groups()) == [group(i) for i in range(30)] + new
        said = [Judgement(group_id=g.id, judge="me", verdict=Choice(chosen=1)) for g in new]
        assert there.add_judgements(iter(said)) == 801
        assert list(there.judgements()) == [
            judgement.model_copy(update={"judge": "api:judge-v1"}) for judgement in said
        ]


def test_texts_larger_than_a_request_go_in_several(cafe: Site) -> None:
    long = [
        Group(
            prompt=user_prompt(f"{i} \U0001f375"),
            responses=tuple(Response(text=f"{j}" + 700_000 * "x") for j in range(2)),
        )
        for i in range(3)
    ]
    with served(cafe), client(cafe, "write") as there:
        assert there.add_groups(long) == 3
    with Store(cafe.url) as store:
        assert list(store.groups("cafe"))[-3:] == long


def test_a_refusal_says_what_the_server_said(cafe: Site) -> None:
    told = pytest.raises(Refusal, match="this token only reads")
    with served(cafe), client(cafe, "read") as there, told as caught:
        there.add_groups([group(5)])
    assert caught.value.status == 403


def test_the_client_waits_its_turn(cafe: Site) -> None:
    few = RateLimits({"login": 10, "change": 60, "read": 1000})
    with served(cafe, few), client(cafe, "write") as there:
        assert sum(there.add_groups([group(i)]) for i in range(2000, 2062)) == 62


def test_the_client_loads_nothing_of_the_server() -> None:
    script = (
        "import sys, palate.web.client; "
        "print([m for m in ('fastapi', 'starlette', 'sqlalchemy', 'torch') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
