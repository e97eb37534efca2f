"""Shutting people out, lowering a role, new passwords, and invitations to several projects."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from palate.store.database import Store
from palate.store.errors import DataError
from palate.store.labelling import accounts, invitations, lease, rights
from palate.store.labelling.errors import Refused
from palate.web.security import hash_password
from palate.web.server import reset_secret
from palate.web.visitor import COOKIE
from tests.web.site import PASSWORD, PROJECT, Site, csrf, group, site

BAR = 2
"""A second project, of which people know nothing."""


@pytest.fixture
def house(url: str, tmp_path: Path) -> Iterator[Site]:
    """Two projects, on each database."""
    with site(tmp_path, [group(i) for i in range(6)], url=url) as made:
        with Store(url) as store:
            store.add_groups("bar", [group(9)])
        yield made


def send(client: TestClient, path: str, **fields: str):
    """A form of a page of somebody's session."""
    home = client.get("/" if client.get("/").status_code == 200 else "/login")
    return client.post(path, data=fields | {"csrf": csrf(home.text)})


def once(page: str) -> str:
    """The link or the token that a page shows once."""
    return (
        page.split('readonly value="')[1]
        .split('"', maxsplit=1)[0]
        .removeprefix("http://testserver")
    )


def token_of(house: Site, owner: TestClient) -> TestClient:
    secret = once(send(owner, "/projects/1/tokens", scope="write", name="judge").text)
    program = house.client()
    program.headers["authorization"] = f"Bearer {secret}"
    return program


def invited(owner: TestClient, **roles: str) -> str:
    return once(send(owner, "/projects/1/invitations", **roles).text)


def state(house: Site, person: int) -> list[tuple[str, str]]:
    with house.desk.reading() as connection:
        found = accounts.members(connection, PROJECT)
        return [(one.role, one.state) for one in found if one.person == person]


def test_a_removed_member_s_session_token_and_invitation_end_at_once(house: Site) -> None:
    chief, mallory = house.person("olga", "owner"), house.person("mallory", "owner")
    owner, removed = house.client(chief), house.client(mallory)
    program, link = token_of(house, removed), invited(removed, role="owner", name="friend")
    assert program.get("/api/projects/1/groups").status_code == 200
    assert removed.get("/projects/1/label").status_code == 200

    assert send(owner, f"/projects/1/people/{mallory}/remove").status_code == 303
    assert program.get("/api/projects/1/groups").status_code == 401
    assert removed.get("/projects/1/label").headers["location"] == "/login"
    assert house.client(mallory).get("/projects/1/label").status_code == 404
    assert house.client().get(link).status_code == 400
    assert "mallory" not in owner.get("/projects/1/people").text.split("<details")[0]


def test_what_a_removed_member_held_is_asked_of_others_and_what_they_said_stays(
    house: Site,
) -> None:
    chief, ann, bob = house.person("olga", "owner"), house.person("ann"), house.person("bob")
    page = house.client(ann).get("/projects/1/label").text
    path = re.search(r'action="(/projects/1/assignments/\w+)"', page)[1]
    client = house.client(ann)
    send(client, path, choice="0:3", action="answer", revision="0")
    client.get("/projects/1/label")
    send(house.client(chief), f"/projects/1/people/{ann}/remove")
    assert [one.judge for one in house.judgements()] == ["person:ann"]
    with house.desk.writing() as connection:
        assert lease.claim(connection, PROJECT, bob, now=house.desk.clock())
        items = connection.exec_driver_sql(
            f"select item from assignments where person_id = {bob}"
        ).scalars()
        assert list(items) == [2], "what ann held"
        with pytest.raises(Refused, match="no_member"):
            lease.claim(connection, PROJECT, ann, now=house.desk.clock())


def test_a_removed_member_comes_back_by_a_new_invitation_alone(house: Site) -> None:
    chief, ann = house.person("olga", "owner"), house.person("ann", "owner")
    owner = house.client(chief)
    program = token_of(house, house.client(ann))
    send(owner, f"/projects/1/people/{ann}/remove")
    back = house.client(ann)
    assert send(back, invited(owner, role="annotator")).status_code == 303
    assert state(house, ann) == [("annotator", "active")]
    assert back.get("/projects/1/people").status_code == 403
    assert program.get("/api/projects/1/groups").status_code == 401


def test_a_lowered_role_ends_what_owners_may_and_what_they_made(house: Site) -> None:
    chief, mallory = house.person("olga", "owner"), house.person("mallory", "owner")
    lowered = house.client(mallory)
    program, link = token_of(house, lowered), invited(lowered, role="owner")
    send(house.client(chief), f"/projects/1/people/{mallory}/roles", role_1="annotator")
    assert lowered.get("/projects/1/settings").status_code == 403
    assert lowered.get("/projects/1/label").status_code == 200
    assert program.get("/api/projects/1/groups").status_code == 401
    assert house.client().get(link).status_code == 400


@pytest.mark.parametrize("role", ["annotator", "reviewer", "owner"])
def test_a_pause_takes_all_but_the_page_that_says_so(house: Site, role: accounts.Role) -> None:
    chief, ann = house.client(house.person("olga", "owner")), house.person("ann", role)
    paused = house.client(ann)
    program = token_of(house, paused) if role == "owner" else None
    send(chief, f"/projects/1/people/{ann}/paused")
    for path in ("label", "quality", "disagreements", "people", "settings", "run", "leaderboard"):
        page = paused.get(f"/projects/1/{path}")
        assert page.status_code == 403
        assert "You are paused" in page.text
        assert 'class="tabs"' not in page.text
    for path in ("undo", "disagreements/1", "tokens", "settings", "people/1/paused"):
        assert send(paused, f"/projects/1/{path}", overlap="2").status_code == 403
    assert "You are paused here" in paused.get("/").text
    if program:
        assert program.get("/api/projects/1/groups").status_code == 401
    send(chief, f"/projects/1/people/{ann}/active")
    assert paused.get("/projects/1/label").status_code == 200
    if program:
        assert program.get("/api/projects/1/groups").status_code == 200


def test_nobody_shuts_out_themselves_or_the_owner_of_the_installation(house: Site) -> None:
    with house.desk.writing() as connection:
        root = accounts.add_person(connection, "root", "-", owner=True, now=0).id
        accounts.join(connection, PROJECT, root, "owner", now=0)
    chief = house.person("olga", "owner")
    owner = house.client(chief)
    for person in (chief, root):
        for action in ("paused", "remove"):
            refused = send(owner, f"/projects/1/people/{person}/{action}")
            assert refused.status_code == 400
        send(owner, f"/projects/1/people/{person}/roles", role_1="annotator")
        assert state(house, person) == [("owner", "active")]
        for action in ("reset", "sessions"):
            assert send(owner, f"/projects/1/people/{person}/{action}").status_code == 403


def test_roles_are_given_in_projects_that_one_owns_alone(house: Site) -> None:
    chief, ann = house.person("olga", "owner"), house.person("ann")
    owner = house.client(chief)
    assert "bar" not in owner.get(f"/projects/1/people/{ann}").text
    send(owner, f"/projects/1/people/{ann}/roles", role_1="reviewer", role_2="owner")
    assert house.client(ann).get(f"/projects/{BAR}/label").status_code == 404
    with house.desk.writing() as connection:
        accounts.join(connection, BAR, chief, "owner", now=0)
    send(owner, f"/projects/1/people/{ann}/roles", role_1="", role_2="reviewer")
    assert state(house, ann) == []
    assert house.client(ann).get(f"/projects/{BAR}/quality").status_code == 200


def test_one_invitation_opens_several_projects_that_its_maker_owns(house: Site) -> None:
    chief = house.person("olga", "owner")
    owner = house.client(chief)
    only = invited(owner, role="annotator", role_2="owner")
    assert "bar" not in house.client().get(only).text
    with house.desk.writing() as connection:
        accounts.join(connection, BAR, chief, "owner", now=0)
    link = invited(owner, role="annotator", role_2="reviewer", name="Ann from Basel")
    listed = owner.get("/projects/1/people").text
    assert "Ann from Basel" in listed
    assert "bar (reviewer)" in listed
    guest = house.client()
    page = guest.get(link).text
    assert 'value="Ann from Basel"' in page
    assert "<strong>bar</strong> (reviewer)" in page
    joined = send(guest, link, name="ann", password=PASSWORD)
    assert (joined.status_code, joined.headers["location"]) == (303, "/")
    assert guest.get("/projects/1/label").status_code == 200
    assert guest.get(f"/projects/{BAR}/quality").status_code == 200
    assert house.client().get(link).status_code == 400, "it works once"


def test_whoever_withdraws_takes_only_projects_of_their_own(house: Site) -> None:
    both, one = house.person("both", "owner"), house.person("one", "owner")
    with house.desk.writing() as connection:
        accounts.join(connection, BAR, both, "owner", now=0)
    link = invited(house.client(both), role="annotator", role_2="annotator")
    listed = house.client(one).get("/projects/1/people").text
    assert "bar" not in listed
    (hash,) = re.findall(r"/invitations/(\w{64})/withdraw", listed)
    send(house.client(one), f"/projects/1/invitations/{hash}/withdraw")
    page = house.client().get(link).text
    assert "<strong>bar</strong>" in page
    assert "<strong>cafe</strong>" not in page


def test_an_invitation_raises_a_role_and_neither_lowers_it_nor_ends_a_pause(house: Site) -> None:
    owner = house.client(house.person("olga", "owner"))
    ann, rev = house.person("ann"), house.person("rev", "reviewer")
    send(owner, f"/projects/1/people/{ann}/paused")
    for person in (ann, rev):
        known = house.client(person)
        page = known.get(link := invited(owner, role="annotator")).text
        assert "Choose a name and a password" not in page
        send(known, link)
    assert state(house, ann) == [("annotator", "paused")]
    assert state(house, rev) == [("reviewer", "active")]
    send(house.client(ann), invited(owner, role="owner"))
    assert state(house, ann) == [("owner", "paused")]


def test_who_has_an_account_logs_in_on_the_way_to_an_invitation(house: Site) -> None:
    with house.desk.writing() as connection:
        accounts.add_person(connection, "ann", hash_password(PASSWORD), owner=False, now=0)
    link = invited(house.client(house.person("olga", "owner")), role="annotator")
    guest = house.client()
    assert f"/login?to={link}" in guest.get(link).text
    for to, then in ((link, link), ("//evil.example", "/"), ("/invitations/../x", "/")):
        guest = house.client()
        answer = send(guest, "/login", name="ann", password=PASSWORD, to=to)
        assert (answer.status_code, answer.headers["location"]) == (303, then)


# Passwords and sessions


def with_password(house: Site, name: str) -> int:
    with house.desk.writing() as connection:
        made = accounts.add_person(connection, name, hash_password(PASSWORD), owner=False, now=0)
        accounts.join(connection, PROJECT, made.id, "annotator", now=0)
    return made.id


def logs_in(house: Site, name: str, password: str) -> bool:
    return send(house.client(), "/login", name=name, password=password).status_code == 303


def test_a_changed_password_ends_every_other_session(house: Site) -> None:
    ann = with_password(house, "ann")
    here, elsewhere = house.client(), house.client(ann)
    send(here, "/login", name="ann", password=PASSWORD)
    wrong = send(here, "/account/password", old="wrong", password="new battery staple")
    assert wrong.status_code == 400
    short = send(here, "/account/password", old=PASSWORD, password="short")
    assert short.status_code == 400
    assert elsewhere.get("/account").status_code == 200
    before = here.cookies[COOKIE]
    changed = send(here, "/account/password", old=PASSWORD, password="new battery staple")
    assert changed.status_code == 303
    assert here.get("/account").status_code == 200
    assert here.cookies[COOKIE] != before
    assert elsewhere.get("/account").headers["location"] == "/login"
    assert not logs_in(house, "ann", PASSWORD)
    assert logs_in(house, "ann", "new battery staple")


def test_a_link_for_a_new_password_works_once_and_ends_all_sessions(house: Site) -> None:
    ann, owner = with_password(house, "ann"), house.client(house.person("olga", "owner"))
    old = house.client(ann)
    first = once(send(owner, f"/projects/1/people/{ann}/reset").text)
    link = once(send(owner, f"/projects/1/people/{ann}/reset").text)
    assert house.client().get(first).status_code == 400, "a newer link ends it"
    assert old.get("/account").status_code == 200
    guest = house.client()
    assert send(guest, link, password="short").status_code == 400
    assert send(guest, link, password="new battery staple").status_code == 303
    assert guest.get("/projects/1/label").status_code == 200
    assert old.get("/account").headers["location"] == "/login"
    assert send(house.client(), link, password=PASSWORD).status_code == 400
    assert logs_in(house, "ann", "new battery staple")


def test_a_link_for_a_new_password_opens_nothing_that_its_maker_could_not(house: Site) -> None:
    ann, owner = with_password(house, "ann"), house.client(house.person("olga", "owner"))
    link = once(send(owner, f"/projects/1/people/{ann}/reset").text)
    with house.desk.writing() as connection:
        accounts.join(connection, BAR, ann, "annotator", now=0)
    assert house.client().get(link).status_code == 400
    assert send(house.client(), link, password="new battery staple").status_code == 400
    for action in ("reset", "sessions"):
        assert send(owner, f"/projects/1/people/{ann}/{action}").status_code == 403
    with house.desk.writing() as connection:
        root = accounts.add_person(connection, "root", "-", owner=True, now=0)
    assert send(house.client(root.id), f"/projects/1/people/{ann}/reset").status_code == 200


def test_owners_and_people_themselves_end_sessions(house: Site) -> None:
    ann, owner = house.person("ann"), house.client(house.person("olga", "owner"))
    first, second = house.client(ann), house.client(ann)
    send(owner, f"/projects/1/people/{ann}/sessions")
    assert first.get("/account").headers["location"] == "/login"
    third = house.client(ann)
    assert send(third, "/account/sessions").status_code == 303
    assert house.client(ann).get("/account").status_code == 200
    for client in (second, third):
        assert client.get("/account").headers["location"] == "/login"


def test_secrets_expire(house: Site) -> None:
    chief, ann = house.person("olga", "owner"), house.person("ann")
    with house.desk.writing() as connection:
        olga = accounts.person(connection, chief)
        roles: dict[int, accounts.Role] = {PROJECT: "annotator"}
        link = invitations.invite(connection, olga, roles, name="", now=0.0)
        reset = rights.reset_link(connection, olga, ann, project=PROJECT, now=0.0)
        assert invitations.invitation(connection, link, now=7 * 86400 - 1.0).grants
        assert rights.reset_for(connection, reset, now=86399.0).name == "ann"
        with pytest.raises(Refused, match="invitation_over"):
            invitations.invitation(connection, link, now=7 * 86400 + 1.0)
        with pytest.raises(Refused, match="reset_over"):
            rights.reset_for(connection, reset, now=86401.0)


# Setting up


def test_an_owner_sets_a_project_up_first_and_sees_what_was_typed_when_refused(
    house: Site,
) -> None:
    chief, ann = house.person("olga", None), house.person("ann", None)
    with house.desk.writing() as connection:
        for person, role in ((chief, "owner"), (ann, "annotator")):
            accounts.join(connection, BAR, person, role, now=0)
    owner, guest = house.client(chief), house.client(ann)
    page = guest.get(f"/projects/{BAR}/label")
    assert page.status_code == 200, "people are asked what is asked by default"
    assert owner.get(f"/projects/{BAR}/label").headers["location"] == f"/projects/{BAR}/settings"
    assert "Set up bar" in owner.get(f"/projects/{BAR}/settings").text
    begun = send(owner, f"/projects/{BAR}/settings", kind="ranking", guidelines="Be kind.")
    assert begun.headers["location"] == f"/projects/{BAR}/label"
    html = owner.get(f"/projects/{BAR}/label").text
    path = re.search(rf'action="(/projects/{BAR}/assignments/\w+)"', html)[1]
    send(owner, path, rank_0="1", action="answer", revision="0")
    fixed = send(owner, f"/projects/{BAR}/settings", kind="rating", guidelines="Be brief.")
    assert fixed.status_code == 400
    assert "after the first answer" in fixed.text
    assert "Be brief." in fixed.text
    assert send(owner, f"/projects/{BAR}/settings", guidelines="x").status_code == 303


def test_a_project_without_runs_has_no_page_for_them(house: Site) -> None:
    owner = house.client(house.person("olga", "owner"))
    assert "/projects/1/run" not in owner.get("/projects/1/people").text
    (house.root / "runs" / "cafe").mkdir(parents=True)
    assert "/projects/1/run" in owner.get("/projects/1/people").text


def test_the_people_page_sums_up_what_happened_and_how_long_it_took(house: Site) -> None:
    chief, ann = house.person("olga", "owner"), house.person("ann")
    client = house.client(ann)
    for _ in range(3):
        html = client.get("/projects/1/label").text
        path = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
        send(client, path, choice="tie", action="answer", revision="0")
    owner = house.client(chief)
    send(owner, f"/projects/1/people/{ann}/roles", role_1="reviewer")
    page = owner.get("/projects/1/people").text
    assert page.count("3 answers") == 1
    assert "made ann reviewer" in page
    assert re.search(r"ann</a></th><td>reviewer</td><td>active</td><td>3</td><td>0\.\d</td>", page)


def test_an_owner_gets_a_link_from_the_server_that_is_good_once(cafe: Site) -> None:
    cafe.person("olga", "owner")
    with pytest.raises(DataError, match="nobody has the login 'nobody'"):
        reset_secret(cafe.url, "nobody")
    first, secret = reset_secret(cafe.url, "Olga"), reset_secret(cafe.url, "olga")
    with cafe.desk.writing() as connection:
        with pytest.raises(Refused):
            rights.reset_for(connection, first, now=cafe.desk.clock())
        somebody = rights.reset_for(connection, secret, now=cafe.desk.clock())
        assert somebody.name == "olga"
        accounts.set_password(connection, somebody.id, "new hash", now=cafe.desk.clock())
        with pytest.raises(Refused):
            rights.reset_for(connection, secret, now=cafe.desk.clock())
