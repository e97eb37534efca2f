"""The quality page counts what people did, says what follows, and names policies to owners only."""

import re
from pathlib import Path

from palate.records import Answer, Choice
from palate.store.labelling import answers, lease
from tests.web.site import PROJECT, Site, group, site


def label(made: Site, name: str, choices: list[int]) -> None:
    """Somebody chooses these responses of the groups in order, in four seconds each."""
    person = made.person(name)
    for chosen in choices:
        with made.desk.writing() as connection:
            id = lease.claim(connection, PROJECT, person, now=1)
            assert id is not None
            said = Answer(verdicts=(Choice(chosen=chosen),), seconds=4)
            answers.submit(connection, PROJECT, person, id, said, revision=0, now=2)


def shown(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_agreement_habits_power_and_ratings(tmp_path: Path) -> None:
    with site(tmp_path, [group(i) for i in range(20)], overlap=2) as made:
        label(made, "ann", [0] * 15 + [1] * 5)
        label(made, "bob", [0] * 10 + [1] * 5 + [0] * 5)
        owner = shown(made.client(made.person("olga", "owner")).get("/projects/1/quality").text)
        assert "same answer in 50 % of 20 pairs" in owner
        assert "raw agreement 0.50" in owner
        assert "To tell 55% from 50% you need 783 decided pairs, about 979 answers" in owner
        assert re.search(r"ann 20 4\.0 \d+ % of 20", owner)
        assert "policy-" not in owner
        reviewer = made.client(made.person("rev", "reviewer")).get("/projects/1/quality").text
        assert "raw agreement" in reviewer
        assert "policy-" not in reviewer


def test_the_power_calculator_answers_and_refuses(cafe: Site) -> None:
    client = cafe.client(cafe.person("rev", "reviewer"))
    page = shown(client.get("/projects/1/quality?expected=60&ties=50").text)
    assert "To tell 60% from 50% you need 194 decided pairs, about 388 answers" in page
    for nonsense in ("expected=50", "expected=nan", "expected=<b>", "ties=100"):
        page = shown(client.get(f"/projects/1/quality?{nonsense}").text)
        assert "can be computed" in page


def test_before_anybody_answered_the_page_says_what_is_missing(cafe: Site) -> None:
    html = cafe.client(cafe.person("olga", "owner")).get("/projects/1/quality").text
    assert "Two people have to answer the same question" in html
    assert "Nobody yet." in html


def test_warnings_come_first_and_name_people_as_they_are_called(tmp_path: Path) -> None:
    with site(tmp_path, [group(i) for i in range(40)], overlap=2) as made:
        person = made.person("Ann Lee")
        for _ in range(28):  # thirty times the same side would pause her
            with made.desk.writing() as connection:
                id = lease.claim(connection, PROJECT, person, now=1)
                assert id is not None
                asked = answers.assignment(connection, PROJECT, person, id)
                said = Answer(verdicts=(Choice(chosen=asked.order[0]),), seconds=4)
                answers.submit(connection, PROJECT, person, id, said, revision=0, now=2)
        html = made.client(made.person("olga", "owner")).get("/projects/1/quality").text
        page = shown(html)
        warning = "Ann Lee prefers the response shown first in 100% of 28 votes"
        assert page.index(warning) < page.index("Two people")
        assert "person:" not in html
        reviewer = made.client(made.person("rev", "reviewer")).get("/projects/1/quality").text
        assert warning not in shown(reviewer)
