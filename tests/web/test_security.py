"""Who may do what, and what every response and request has to carry."""

import re
from pathlib import Path

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient

from palate.records import Answer, Choice
from palate.store.labelling import accounts, answers, lease
from palate.web.app import create_app
from palate.web.security import HEADERS, RateLimits, check_password, hash_password
from palate.web.visitor import COOKIE
from tests.web.site import PASSWORD, PROJECT, Site, csrf, group, site

ROLES = ("nobody", "stranger", "annotator", "reviewer", "owner")


@pytest.fixture
def crowd(cafe: Site) -> dict[str, TestClient]:
    """A client for each role; a stranger has an account and no project."""
    people = {role: cafe.person(role, role) for role in ("annotator", "reviewer", "owner")}
    people["stranger"] = cafe.person("stranger", None)
    clients = {role: cafe.client(person) for role, person in people.items()}
    clients["nobody"] = cafe.client()
    return clients


def assignment(cafe: Site, person: int) -> answers.Assignment:
    with cafe.desk.writing() as connection:
        id = lease.claim(connection, PROJECT, person, now=cafe.desk.clock())
        assert id is not None
        return answers.assignment(connection, PROJECT, person, id)


# Who may do what

LOGIN = "to the login"
MATRIX = [
    # method, path, what is sent, then what nobody, stranger, annotator, reviewer and owner get
    ("GET", "/projects/1/label", {}, (LOGIN, 404, 200, 200, 200)),
    ("POST", "/projects/1/undo", {}, (LOGIN, 404, 400, 400, 400)),
    ("POST", "/projects/1/assignments/OTHERS", {"choice": "tie"}, (LOGIN, 404, 404, 404, 404)),
    ("POST", "/projects/1/assignments/OTHERS/draft", {}, (LOGIN, 404, 404, 404, 404)),
    ("GET", "/projects/1/assignments/OTHERS/ahead", {}, (LOGIN, 404, 204, 204, 204)),
    ("GET", "/projects/1/answers", {}, (LOGIN, 404, 200, 200, 200)),
    ("GET", "/projects/1/answers/OTHERS", {}, (LOGIN, 404, 404, 404, 404)),
    ("POST", "/projects/1/answers/OTHERS", {"choice": "tie"}, (LOGIN, 404, 404, 404, 404)),
    ("POST", "/projects/1/answers/OTHERS/resume", {}, (LOGIN, 404, 404, 404, 404)),
    ("GET", "/projects/1/answers/OTHERS/resumed", {}, (LOGIN, 404, 404, 404, 404)),
    ("GET", "/projects/1/questions", {}, (LOGIN, 404, 403, 200, 200)),
    ("GET", "/projects/1/data", {}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/data/uploads", {}, (LOGIN, 404, 403, 403, 400)),
    ("GET", "/projects/1/data/uploads/x", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/data/uploads/x", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/data/export", {}, (LOGIN, 404, 403, 403, 404)),
    ("GET", "/projects/1/live", {}, (LOGIN, 404, 400, 400, 400)),
    ("POST", "/projects/1/live", {"prompt": "p"}, (LOGIN, 404, 400, 400, 400)),
    ("GET", "/projects/1/live/00", {}, (LOGIN, 404, 404, 404, 404)),
    ("GET", "/projects/1/disagreements", {}, (LOGIN, 404, 403, 200, 200)),
    ("GET", "/projects/1/disagreements/1", {}, (LOGIN, 404, 403, 200, 200)),
    ("POST", "/projects/1/disagreements/1", {"choice": "tie"}, (LOGIN, 404, 403, 303, 400)),
    ("POST", "/projects/1/disagreements/1/comments/7", {}, (LOGIN, 404, 403, 404, 404)),
    ("POST", "/projects/1/disagreements/1/again", {}, (LOGIN, 404, 403, 303, 303)),
    ("POST", "/projects/1/disagreements/77/again", {}, (LOGIN, 404, 403, 404, 404)),
    ("GET", "/projects/1/quality", {}, (LOGIN, 404, 403, 200, 200)),
    ("GET", "/projects/1/leaderboard", {}, (LOGIN, 404, 403, 403, 200)),
    ("GET", "/projects/1/people", {}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/people/1/paused", {}, (LOGIN, 404, 403, 403, 303)),
    ("POST", "/projects/1/people/1/owner", {}, (LOGIN, 404, 403, 403, 404)),
    ("GET", "/projects/1/people/1", {}, (LOGIN, 404, 403, 403, 200)),
    ("GET", "/projects/1/people/77", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/people/1/roles", {"role_1": "reviewer"}, (LOGIN, 404, 403, 403, 303)),
    ("POST", "/projects/1/people/1/roles", {"role_1": "god"}, (LOGIN, 404, 403, 403, 403)),
    ("POST", "/projects/1/people/77/roles", {"role_1": "owner"}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/people/1/remove", {}, (LOGIN, 404, 403, 403, 303)),
    ("POST", "/projects/1/people/77/remove", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/people/1/reset", {}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/people/77/reset", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/people/1/sessions", {}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/people/77/sessions", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/invitations", {"role": "owner"}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/invitations", {"role": "god"}, (LOGIN, 404, 403, 403, 403)),
    ("POST", "/projects/1/invitations/00/withdraw", {}, (LOGIN, 404, 403, 403, 303)),
    ("POST", "/projects/1/tokens", {"scope": "read", "name": "x"}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/tokens", {"scope": "all", "name": "x"}, (LOGIN, 404, 403, 403, 400)),
    ("POST", "/projects/1/tokens/00/withdraw", {}, (LOGIN, 404, 403, 403, 303)),
    ("GET", "/projects/1/settings", {}, (LOGIN, 404, 403, 403, 200)),
    ("POST", "/projects/1/settings", {"overlap": "2"}, (LOGIN, 404, 403, 403, 303)),
    ("POST", "/projects/1/settings", {"overlap": "99"}, (LOGIN, 404, 403, 403, 400)),
    (
        "POST",
        "/projects/1/checks",
        {"prompt": "p", "right": "r", "wrong": "w"},
        (LOGIN, 404, 403, 403, 303),
    ),
    ("GET", "/projects/1/run", {}, (LOGIN, 404, 403, 403, 200)),
    ("GET", "/projects/1/run?run=other", {}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/run/samples", {}, (LOGIN, 404, 403, 403, 400)),
    ("POST", "/projects/1/run/samples", {"sample": "../x/1/2"}, (LOGIN, 404, 403, 403, 404)),
    ("POST", "/projects/1/run/samples", {"to": "2"}, (LOGIN, 404, 403, 403, 403)),
    ("GET", "/projects/2/label", {}, (LOGIN, 404, 404, 404, 404)),
    ("GET", "/projects/x/label", {}, (LOGIN, 404, 404, 404, 404)),
]


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row[0]} {row[1]}")
def test_every_endpoint_serves_the_roles_that_it_is_for(
    cafe: Site, crowd: dict[str, TestClient], row: tuple
) -> None:
    method, path, data, expected = row
    other = assignment(cafe, cafe.person("other"))
    for role, wanted in zip(ROLES, expected, strict=True):
        client = crowd[role]
        token = csrf(client.get("/login" if role == "nobody" else "/").text)
        fields = {"csrf": token, "revision": "0", "action": "answer"} | data
        target = path.replace("OTHERS", other.id)
        response = client.request(method, target, data=fields if method == "POST" else None)
        got = response.status_code
        if wanted == LOGIN:
            assert (got, response.headers["location"]) == (303, "/login"), role
        else:
            assert got == wanted, (role, response.text)
    assert all(j.judge != "person:other" for j in cafe.judgements())


def test_the_matrix_has_every_endpoint_of_projects(cafe: Site) -> None:
    app = create_app(cafe.desk, root=cafe.root)
    for name, methods in routes(app):
        if name.startswith("/projects/"):
            pattern = re.compile(re.sub(r"\{\w+\}", r"[^/]+", name) + "$")
            for method in methods:
                found = [row for row in MATRIX if row[0] == method and pattern.match(row[1])]
                assert found, f"{method} {name} has no row"


def routes(app) -> list[tuple[str, set[str]]]:
    """(path, methods) of every endpoint."""
    found: list[tuple[str, set[str]]] = []
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not isinstance(route, Mount):
            waiting.extend(inner.routes)
        elif getattr(route, "methods", None):
            found.append((route.path, route.methods - {"HEAD"}))
    assert len(found) > 20
    return found


def test_changes_without_the_page_s_token_are_refused(crowd: dict[str, TestClient]) -> None:
    client = crowd["owner"]
    assert client.post("/projects/1/settings", data={"overlap": "2"}).status_code == 403
    other = csrf(crowd["reviewer"].get("/").text)
    refused = client.post("/projects/1/settings", data={"overlap": "2", "csrf": other})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_changes_that_other_sites_ask_for_are_refused(
    crowd: dict[str, TestClient], headers: dict[str, str]
) -> None:
    client = crowd["owner"]
    data = {"csrf": csrf(client.get("/").text), "overlap": "2"}
    assert client.post("/projects/1/settings", data=data, headers=headers).status_code == 403
    own = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    assert client.post("/projects/1/settings", data=data, headers=own).status_code == 303


# What responses carry


@pytest.mark.parametrize(
    "path", ["/login", "/static/app.js", "/static/none", "/projects/1/label", "/%00", "/setup"]
)
def test_every_response_carries_the_headers_and_enforces_them(
    crowd: dict[str, TestClient], path: str
) -> None:
    for client in crowd.values():
        response = client.get(path)
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert not [name for name in response.headers if "report-only" in name]
        assert "access-control-allow-origin" not in response.headers
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy


def test_pages_hold_no_inline_script_style_or_handler() -> None:
    for folder in ("templates", "static"):
        for file in (Path(create_app.__code__.co_filename).parent / folder).glob("*.html"):
            html = file.read_text(encoding="utf-8")
            assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html) == []
            assert re.findall(r"""(?:src|href|action)="(?:https?:)?//""", html) == []
            assert "| safe" not in html


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(cafe: Site) -> None:
    cookie = cafe.client().get("/login").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    app = create_app(cafe.desk, root=cafe.root)
    secure = TestClient(app, base_url="https://testserver").get("/login").headers["set-cookie"]
    assert "secure" in secure.lower()


def test_large_and_unmeasured_bodies_are_refused(crowd: dict[str, TestClient]) -> None:
    client = crowd["annotator"]
    assert client.post("/projects/1/undo", content=b"x" * 2_000_001).status_code == 413
    assert client.post("/projects/1/undo", content=iter([b"x"])).status_code == 411


def test_a_theme_can_only_send_back_to_this_server(crowd: dict[str, TestClient]) -> None:
    client = crowd["annotator"]
    token = csrf(client.get("/").text)
    for path in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"):
        fields = {"csrf": token, "theme": "dark", "path": path}
        assert client.post("/theme", data=fields).headers["location"] == "/"


# Accounts


def first_account(client: TestClient, token: str, name: str = "olga") -> int:
    data = {"csrf": csrf(client.get("/login").text), "token": token, "name": name}
    return client.post("/setup", data=data | {"password": PASSWORD}).status_code


def test_the_first_account_needs_the_token_and_there_is_no_second_first(cafe: Site) -> None:
    with cafe.desk.writing() as connection:
        token = accounts.first_run_token(connection, now=cafe.desk.clock())
        assert not accounts.has_people(connection), "no default accounts"
    assert first_account(cafe.client(), "wrong") == 400
    assert first_account(cafe.client(), token) == 303
    assert first_account(cafe.client(), token, "mallory") == 400
    assert cafe.client().get("/setup").headers["location"] == "/login"


def test_logging_in_changes_the_secret_and_logging_out_ends_it(cafe: Site) -> None:
    with cafe.desk.writing() as connection:
        accounts.add_person(connection, "ann", hash_password(PASSWORD), owner=True, now=0)
    client = cafe.client()
    token = csrf(client.get("/login").text)
    before = client.cookies[COOKIE]
    wrong = {"csrf": token, "name": "ann", "password": "wrong"}
    assert client.post("/login", data=wrong).status_code == 400
    assert client.post("/login", data=wrong | {"password": PASSWORD}).status_code == 303
    secret = client.cookies[COOKIE]
    assert secret != before
    home = client.get("/")
    assert "cafe" in home.text
    client.post("/logout", data={"csrf": csrf(home.text)})
    stolen = cafe.client()
    stolen.cookies.set(COOKIE, secret)
    assert stolen.get("/").headers["location"] == "/login"


def test_passwords_are_argon2_and_an_unknown_name_takes_as_long() -> None:
    stored = hash_password(PASSWORD)
    assert stored.startswith("$argon2id$")
    assert check_password(PASSWORD, stored)
    assert not check_password("other", stored)
    assert not check_password(PASSWORD, None)
    assert not check_password("", "no hash")


def test_an_invitation_works_once_gives_its_role_and_can_be_withdrawn(
    cafe: Site, crowd: dict[str, TestClient]
) -> None:
    owner = crowd["owner"]
    token = csrf(owner.get("/").text)

    def link() -> str:
        page = owner.post("/projects/1/invitations", data={"csrf": token, "role": "reviewer"})
        return re.search(r"/invitations/[\w-]{40,}", page.text)[0]

    def join(path: str, name: str) -> int:
        guest = cafe.client()
        page = guest.get(path)
        if page.status_code != 200:
            return page.status_code
        data = {"csrf": csrf(page.text), "name": name, "password": PASSWORD}
        return guest.post(path, data=data).status_code

    path = link()
    assert join(path, "rev") == 303
    assert join(path, "rev2") == 400
    with cafe.desk.reading() as connection:
        roles = {m.name: m.role for m in accounts.members(connection, PROJECT)}
    assert roles["rev"] == "reviewer"
    second = link()
    page = owner.get("/projects/1/people").text
    (hash,) = re.findall(r"/invitations/(\w{64})/withdraw", page)
    owner.post(f"/projects/1/invitations/{hash}/withdraw", data={"csrf": token})
    assert join(second, "rev3") == 400


def test_attempts_to_log_in_are_limited(cafe: Site) -> None:
    limits = RateLimits({"login": 3, "change": 1000, "read": 1000})
    client = TestClient(create_app(cafe.desk, root=cafe.root, limits=limits))
    token = csrf(client.get("/login").text)
    data = {"csrf": token, "name": "ann", "password": "x"}
    statuses = [client.post("/login", data=data).status_code for _ in range(4)]
    assert statuses == [400, 400, 400, 429]


def test_nobody_learns_which_policy_wrote_what_or_which_question_is_a_check(
    cafe: Site, crowd: dict[str, TestClient]
) -> None:
    html = crowd["annotator"].get("/projects/1/label").text
    assert "policy-" not in html
    for word in ("gold", "attention", "ordinary", "repeat"):
        assert word not in html


def test_what_a_stale_tab_sends_changes_nothing(cafe: Site, crowd: dict[str, TestClient]) -> None:
    client = crowd["annotator"]
    html = client.get("/projects/1/label").text
    path = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
    data = {"csrf": csrf(html), "choice": "0:3", "action": "answer"}
    for revision in ("0", "0", "5", "x"):
        assert client.post(path, data=data | {"revision": revision}).status_code == 303
    assert len(cafe.judgements()) == 1


def test_focused_time_cannot_exceed_the_time_that_passed(
    cafe: Site, crowd: dict[str, TestClient]
) -> None:
    client = crowd["annotator"]
    html = client.get("/projects/1/label").text
    path = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
    data = {"csrf": csrf(html), "choice": "0:3", "action": "answer", "revision": "0"}
    client.post(path, data=data | {"focused": "99999999"})
    assert cafe.judgements()[0].seconds < 60


def test_disagreements_hide_who_said_what_and_a_decision_empties_the_queue(
    tmp_path: Path,
) -> None:
    with site(tmp_path, [group(0)], overlap=2) as made:
        for chosen, name in enumerate(("ann", "bob")):
            person = made.person(name)
            asked = assignment(made, person)
            with made.desk.writing() as connection:
                said = Answer(verdicts=(Choice(chosen=chosen),), seconds=1, note=f"note {chosen}")
                answers.submit(connection, PROJECT, person, asked.id, said, revision=0, now=1)
        reviewer = made.client(made.person("rev", "reviewer"))
        page = reviewer.get("/projects/1/disagreements/1").text
        assert "note 0" in page
        assert "ann" not in page.replace("annotator", "")
        assert "bob" not in page
        assert "/disagreements/1" in reviewer.get("/projects/1/disagreements").text
        data = {"csrf": csrf(page), "choice": "1:3", "action": "answer"}
        assert reviewer.post("/projects/1/disagreements/1", data=data).status_code == 303
        assert "/disagreements/1" not in reviewer.get("/projects/1/disagreements").text
        quality = reviewer.get("/projects/1/quality").text
        assert "same answer in 0 % of 1 pairs" in quality
