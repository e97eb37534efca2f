"""A proxy's word counts only where the server was told that there is one."""

import pytest
from starlette.testclient import TestClient

from palate.web.app import create_app
from palate.web.security import Front, RateLimits
from tests.web.site import Site, csrf

SPOOFED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


def visitor(cafe: Site, front: Front) -> TestClient:
    limits = RateLimits({"login": 2, "change": 1000, "read": 1000})
    return TestClient(create_app(cafe.desk, root=cafe.root, limits=limits, front=front))


@pytest.mark.parametrize(("front", "secure"), [("none", False), ("tls-proxy", True)])
def test_the_session_is_for_https_alone_behind_a_proxy_and_headers_do_not_decide(
    cafe: Site, front: Front, secure: bool
) -> None:
    reply = visitor(cafe, front).get("/login", headers=SPOOFED)
    assert ("secure" in reply.headers["set-cookie"].lower()) == secure


def test_links_are_for_https_behind_a_proxy(cafe: Site) -> None:
    owner = visitor(cafe, "tls-proxy")
    owner.headers["cookie"] = f"palate={cafe.session(cafe.person('olga', 'owner'))}"
    form = {"csrf": csrf(owner.get("/").text), "role": "annotator"}
    page = owner.post("/projects/1/invitations", data=form).text
    assert "https://testserver/invitations/" in page


@pytest.mark.parametrize(("front", "last"), [("none", 429), ("tls-proxy", 400)])
def test_who_forges_an_address_gets_no_more_attempts(cafe: Site, front: Front, last: int) -> None:
    client = visitor(cafe, front)
    client.headers["cookie"] = "palate=mine"
    form = {"csrf": csrf(client.get("/login").text), "password": "x"}
    statuses = [
        client.post(
            "/login",
            data=form | {"name": f"n{i}"},
            headers={"X-Forwarded-For": f"6.6.6.6, 203.0.113.{i}"},
        ).status_code
        for i in range(3)
    ]
    assert statuses == [400, 400, last]
    forged = {"X-Forwarded-For": "9.9.9.9, 203.0.113.0"}
    client.post("/login", data=form | {"name": "m"}, headers=forged)
    again = client.post("/login", data=form | {"name": "o"}, headers=forged)
    assert again.status_code == 429
