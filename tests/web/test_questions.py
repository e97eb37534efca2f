"""The list of all questions: found, filtered, and told to reviewers without names."""

import re

from palate.store.labelling import items, review
from tests.store.office import choice
from tests.web.site import PROJECT, Site
from tests.web.test_own import label, words

HERE = f"/projects/{PROJECT}"


def listed(html: str) -> list[str]:
    return re.findall(r"question \d+", html)


def test_a_project_is_listed_before_anybody_was_asked(cafe: Site) -> None:
    client = cafe.client(cafe.person("olga", "owner"))
    html = client.get(f"{HERE}/questions").text
    assert listed(html) == [f"question {i}" for i in range(30)]
    assert "policy-" not in html
    assert listed(client.get(f"{HERE}/questions?text=QUESTION+17").text) == ["question 17"]
    assert "There are no such questions." in client.get(f"{HERE}/questions?text=<b>").text
    with cafe.desk.reading() as connection:
        assert not items.task_of(connection, PROJECT).arms
        asked = "select count(*) from assignments"
        assert connection.exec_driver_sql(asked).scalar_one() == 0


def test_owners_see_who_answered_and_reviewers_what(cafe: Site) -> None:
    zora = cafe.person("zora")
    label(cafe.client(zora), choice="0:3")
    owner = cafe.client(cafe.person("olga", "owner"))
    html = owner.get(f"{HERE}/questions?state=answered&person={zora}").text
    assert listed(html) == ["question 0"]
    assert re.search(r"zora: [AB] is much better", words(html))
    assert listed(owner.get(f"{HERE}/questions?person={zora + 1}").text) == []
    reviewer = cafe.client(cafe.person("rev", "reviewer"))
    html = reviewer.get(f"{HERE}/questions?state=answered&person={zora + 1}").text
    assert listed(html) == ["question 0"]  # filters by person are the owner's
    assert "zora" not in words(html)
    assert re.search(r"#1: [AB] is much better", words(html))


def test_annotators_and_strangers_do_not_see_the_list(cafe: Site) -> None:
    assert cafe.client(cafe.person("ann")).get(f"{HERE}/questions").status_code == 403
    assert cafe.client(cafe.person("eve", None)).get(f"{HERE}/questions").status_code == 404


def test_a_search_that_makes_no_sense_is_no_error(cafe: Site) -> None:
    client = cafe.client(cafe.person("olga", "owner"))
    for nonsense in ("state=x", "person=x", f"after={10**30}", f"person={10**30}", "after=x"):
        assert client.get(f"{HERE}/questions?{nonsense}").status_code in (400, 404)
    assert client.get(f"{HERE}/questions?text={'x' * 9000}").status_code == 200


def test_every_question_opens_and_what_is_decided_has_no_form(cafe: Site) -> None:
    client = cafe.client(cafe.person("rev", "reviewer"))
    client.get(f"{HERE}/questions")
    html = client.get(f"{HERE}/disagreements/3").text
    assert "Nobody has answered it yet." in html
    assert 'id="send"' in html
    with cafe.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, 1, 3, choice(1), now=1)
        review.make_check(connection, PROJECT, 1, 3, choice(1), now=1)
    html = client.get(f"{HERE}/disagreements/3").text
    assert "That question is decided." in html
    assert 'id="send"' not in html
    check = client.get(f"{HERE}/questions?state=check").text
    assert listed(check) == ["question 2"]
    place = re.search(r"/disagreements/(\d+)", check)
    assert place
    html = client.get(f"{HERE}/disagreements/{place[1]}").text
    assert "it is a check" in html
    assert 'id="send"' not in html


def test_reviewers_see_how_strongly_answers_were_meant(cafe: Site) -> None:
    label(cafe.client(cafe.person("ann")), choice="0:1", note="a <b>note</b>")
    html = cafe.client(cafe.person("rev", "reviewer")).get(f"{HERE}/disagreements/1").text
    assert re.search(r"#1: [AB] is slightly better", words(html))
    assert "a &lt;b&gt;note&lt;/b&gt;" in html
