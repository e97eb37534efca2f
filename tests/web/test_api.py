"""Programs read and write one project each, by tokens of a scope, and never speak for people."""

import json

import pytest
from starlette.testclient import TestClient

from palate.records import Choice, Judgement, Scores
from palate.store.database import Store
from palate.store.labelling import accounts
from tests.web.site import PROJECT, Site, csrf, group


def program(cafe: Site, scope: str, project: int = PROJECT) -> TestClient:
    """A client that holds a token of an owner's."""
    with cafe.desk.writing() as connection:
        if accounts.password_of(connection, "maker") is None:
            accounts.add_person(connection, "maker", "no hash", owner=True, now=0)
        maker, _ = accounts.password_of(connection, "maker")
        secret = accounts.issue(
            connection,
            "api",
            now=cafe.desk.clock(),
            lifetime=60,
            made_by=maker,
            project=project,
            role=scope,
            name="judge-v1",
        )
    client = cafe.client()
    client.headers["authorization"] = f"Bearer {secret}"
    return client


def said(i: int, **fields: object) -> dict[str, object]:
    judgement = Judgement(group_id=group(i).id, judge="person:ann", verdict=Choice(chosen=1))
    return judgement.model_copy(update=fields).model_dump(mode="json")


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [  # nobody, a session of the owner, a token of another project, one that reads, one that writes
        ("GET", "/api/projects/1/groups", None, (401, 401, 404, 200, 200)),
        ("GET", "/api/projects/1/judgements", None, (401, 401, 404, 200, 200)),
        ("POST", "/api/projects/1/groups", {"groups": []}, (401, 401, 404, 403, 200)),
        ("POST", "/api/projects/1/judgements", {"judgements": []}, (401, 401, 404, 403, 200)),
    ],
)
def test_every_endpoint_asks_for_the_right_token(
    cafe: Site, method: str, path: str, body: dict[str, object] | None, statuses: tuple[int, ...]
) -> None:
    with Store(cafe.url) as store:
        store.add_groups("bar", [group(0)])
    clients = [cafe.client(), cafe.client(cafe.person("olga", "owner"))]
    clients += [program(cafe, "write", 2), program(cafe, "read"), program(cafe, "write")]
    for client, status in zip(clients, statuses, strict=True):
        response = client.request(method, path, json=body)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"


def test_groups_and_judgements_go_in_once_and_come_out_in_pages(cafe: Site) -> None:
    client = program(cafe, "write")
    new = [group(i).model_dump(mode="json") for i in range(1000, 1400)]
    for added in (400, 0):
        response = client.post("/api/projects/1/groups", json={"groups": new})
        assert response.json() == {"added": added}
    first = client.get("/api/projects/1/groups").json()
    second = client.get("/api/projects/1/groups", params={"after": first["next"]}).json()
    assert (len(first["records"]), len(second["records"]), second["next"]) == (400, 30, 0)
    assert second["records"][-1] == new[-1]
    response = client.post("/api/projects/1/judgements", json={"judgements": [said(3)]})
    assert response.json() == {"added": 1}
    (record,) = client.get("/api/projects/1/judgements").json()["records"]
    assert record == said(3, judge="api:judge-v1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"judgements": [said(99)]}, 400),
        ({"judgements": [said(1), said(1, verdict=Choice(chosen=2))]}, 400),
        ({"judgements": [said(1, order=(0, 2))]}, 400),
        ({"judgements": [said(1, verdict=Scores(values=(0.5,)))]}, 400),
        ({"judgements": [said(1, supersedes="0" * 16)]}, 403),
        ({"judgements": [said(1) | {"admin": True}]}, 422),
        ({"judgements": [said(1)] * 401}, 422),
        ({"judgements": [said(1) | {"verdict": {"kind": "rating", "values": [10, 1]}}]}, 422),
        ({}, 422),
    ],
)
def test_what_does_not_fit_is_refused_as_a_whole(
    cafe: Site, body: dict[str, object], status: int
) -> None:
    client = program(cafe, "write")
    response = client.post("/api/projects/1/judgements", json=body)
    assert response.status_code == status
    assert response.json()["detail"]
    assert cafe.judgements() == []


def test_tokens_are_made_and_withdrawn_by_owners_and_shown_once(cafe: Site) -> None:
    owner = cafe.client(cafe.person("olga", "owner"))
    token = csrf(owner.get("/").text)
    form = {"csrf": token, "name": "judge-v1", "scope": "read"}
    page = owner.post("/projects/1/tokens", data=form).text
    secret = page.split('readonly value="')[1].split('"')[0]
    client = cafe.client()
    client.headers["authorization"] = f"Bearer {secret}"
    assert client.get("/api/projects/1/groups").status_code == 200
    listed = owner.get("/projects/1/people").text
    assert "judge-v1" in listed
    assert secret not in listed
    hash = accounts.digest(secret)
    owner.post(f"/projects/1/tokens/{hash}/withdraw", data={"csrf": token})
    assert client.get("/api/projects/1/groups").status_code == 401


def test_the_description_names_every_endpoint_and_no_page(cafe: Site) -> None:
    described = cafe.client().get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/projects/{project}/groups",
        "/api/projects/{project}/judgements",
    }
    assert "HTTPBearer" in json.dumps(described["components"]["securitySchemes"])


@pytest.mark.parametrize(
    ("bad", "problem"), [("\0", "is NUL"), ("\ud83d", "is half of a surrogate")]
)
def test_text_that_not_everything_can_hold_is_refused_with_its_place(
    cafe: Site, bad: str, problem: str
) -> None:
    client = program(cafe, "write")
    client.headers["content-type"] = "application/json"
    new = group(7).model_dump(mode="json")
    new["responses"][1]["text"] = f"Yes{bad}"
    body = json.dumps({"groups": [new]})
    response = client.post("/api/projects/1/groups", content=body)
    assert response.status_code == 422
    assert (
        f"[0].responses[1].text: character 4 {problem}" in response.json()["detail"][0]["problem"]
    )
    noted = said(0) | {"judge": f"x{bad}"}
    response = client.post(
        "/api/projects/1/judgements", content=json.dumps({"judgements": [noted]})
    )
    assert response.status_code == 422
