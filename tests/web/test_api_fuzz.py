"""Whatever a program sends, the API answers as its description allows, and never fails."""

import json
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from palate.records import Choice, Group, Judgement
from palate.store.database import Store
from palate.store.labelling import Desk
from palate.web.app import create_app
from tests.web.site import GENEROUS, PROJECT, Site, csrf, group, site
from tests.web.test_api import program, said

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def probe(url: str, folder: Path, *, examples: int) -> int:
    """Send what the description allows, and what it does not, to every endpoint; how often."""
    with Store(url) as store:
        store.add_groups("cafe", [group(i) for i in range(3)])
        store.add_judgements(
            "cafe", [Judgement(group_id=group(0).id, judge="person:ann", verdict=Choice(chosen=1))]
        )
    sent = 0
    with Desk(url) as desk:
        token = program(Site(url=url, desk=desk, root=folder), "write").headers["authorization"]
        app = create_app(desk, root=folder, limits=GENEROUS)
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
        for found in schema.get_all_operations():
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:

                @settings(
                    max_examples=examples,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=found.ok().as_strategy(generation_mode=mode))
                def send(case: Case) -> None:
                    nonlocal sent
                    sent += 1
                    case.path_parameters["project"] = PROJECT
                    case.call_and_validate(headers={"Authorization": token}, checks=CHECKS)

                send()
    return sent


def test_no_request_makes_the_api_fail(url: str, tmp_path: Path) -> None:
    assert probe(url, tmp_path, examples=5) >= 30


@pytest.mark.slow  # hundreds of requests
def test_no_request_of_hundreds_makes_the_api_fail(url: str, tmp_path: Path) -> None:
    assert probe(url, tmp_path, examples=150) >= 600


def test_numbers_and_texts_that_no_column_holds_are_refused(url: str, tmp_path: Path) -> None:
    with site(tmp_path, [group(0)], url=url) as made:
        owner = made.client(made.person("olga", "owner"))
        html = owner.get("/projects/1/label").text
        token = {"csrf": csrf(html)}
        huge, nul = "9" * 30, "\0"
        for path in (f"/projects/{huge}/label", f"/projects/1/disagreements/{huge}"):
            assert owner.get(path).status_code == 400
        asked = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
        for field in ("revision", "focused"):
            for value in (huge, "\N{SUPERSCRIPT TWO}", nul):
                data = token | {"revision": "7", field: value, "choice": "0:3"}
                assert owner.post(asked, data=data).status_code == 303
        assert owner.post("/login", data=token | {"name": nul, "password": nul}).status_code == 400
        assert owner.post("/projects/1/assignments/%00", data=token).status_code in (400, 404)
        assert owner.get("/projects/1/label").status_code == 200


def test_a_stored_text_that_is_no_unicode_can_be_read(url: str, tmp_path: Path) -> None:
    half = group(1).model_dump(mode="json")
    half["responses"][0]["text"] = "half \ud83d and \0"
    with Store(url) as store:
        store.add_groups("cafe", [group(0), Group.model_validate(half)])
    with Desk(url) as desk:
        client = program(Site(url=url, desk=desk, root=tmp_path), "write")
        assert client.get("/api/projects/1/groups", params={"after": 1}).json()["records"] == [half]


@pytest.mark.parametrize("seconds", ["NaN", "Infinity"])
def test_time_is_a_finite_number(cafe: Site, seconds: str) -> None:
    body = json.dumps({"judgements": [said(1, seconds=2.5)]}).replace("2.5", seconds)
    kind = {"content-type": "application/json"}
    response = program(cafe, "write").post("/api/projects/1/judgements", content=body, headers=kind)
    assert response.status_code == 422
    assert cafe.judgements() == []
