"""One's own answers over HTTP: listed, looked at, corrected, put off and taken up again."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from palate.records import Choice, Ranking, Rating, Skip, Tie
from palate.store.labelling import review
from tests.store.office import choice
from tests.web.site import PROJECT, Site, csrf, group, site

HERE = f"/projects/{PROJECT}"


def send(client: TestClient, html: str, path: str, **fields: str):
    revision = re.search(r'name="revision" value="(\d+)"', html)
    kept = {"csrf": csrf(html), "revision": revision[1] if revision else ""}
    return client.post(path, data=kept | {"action": "answer"} | fields)


def label(client: TestClient, **fields: str) -> str:
    """Answer the question that is asked, and its id."""
    html = client.get(f"{HERE}/label").text
    found = re.search(r"/assignments/(\w+)\"", html)
    assert found
    reply = send(client, html, f"{HERE}/assignments/{found[1]}", **fields)
    assert reply.status_code == 303, reply.text
    return found[1]


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def checked(html: str) -> list[str]:
    return re.findall(r'value="([^"]*)"[^>]* checked', html)


def test_an_answer_is_listed_shown_as_it_was_given_and_corrected(cafe: Site) -> None:
    client = cafe.client(cafe.person("ann"))
    assert "You have not answered anything" in client.get(f"{HERE}/answers").text
    id = label(client, choice="0:2", reasons="clear", note="I <b>see</b>", better="my own")
    listed = client.get(f"{HERE}/answers").text
    assert "question 0" in listed
    assert "A is better" in words(listed)
    html = client.get(f"{HERE}/answers/{id}").text
    assert "You said A is better" in words(html)
    assert {"0:2", "clear"} <= set(checked(html))
    assert "I &lt;b&gt;see&lt;/b&gt;</textarea>" in html
    assert ">my own</textarea>" in html
    reply = send(client, html, f"{HERE}/answers/{id}", choice="1:3", note="", better="")
    assert reply.headers["location"] == f"{HERE}/answers"
    said = [j for j in cafe.judgements() if j.verdict.kind != "skip"]
    assert [type(j.verdict) for j in said] == [Choice]
    assert said[0].verdict.strength == 3
    assert "B is much better" in words(client.get(f"{HERE}/answers").text)


def test_an_empty_correction_is_refused_where_it_was_made(cafe: Site) -> None:
    client = cafe.client(cafe.person("ann"))
    id = label(client, choice="tie")
    html = client.get(f"{HERE}/answers/{id}").text
    reply = send(client, html, f"{HERE}/answers/{id}")
    assert reply.status_code == 400
    assert "Choose an answer first." in reply.text
    assert [j.verdict for j in cafe.judgements()] == [Tie()]


def test_rankings_and_ratings_come_back_as_they_were_given(tmp_path: Path) -> None:
    with site(tmp_path, [group(0, 3)], kind="ranking") as made:
        client = made.client(made.person("ann"))
        id = label(client, rank_0="2", rank_2="1")
        html = client.get(f"{HERE}/answers/{id}").text
        assert "C &gt; A" in html
        assert re.findall(r"<option selected>(\d)", html) == ["2", "1"]
        send(client, html, f"{HERE}/answers/{id}", choice="bad")
        assert [j.verdict for j in made.judgements()] == [Tie(both_bad=True)]
        assert "None is acceptable" in client.get(f"{HERE}/answers").text
    (tmp_path / "rating").mkdir()
    with site(tmp_path / "rating", [group(0)], kind="rating", dimensions=["helpful"]) as made:
        client = made.client(made.person("ann"))
        id = label(client, rate_0_0="4", rate_0_1="2")
        html = client.get(f"{HERE}/answers/{id}").text
        assert "helpful: A 4, B 2" in html
        assert checked(html)[-2:] == ["4", "2"]
        send(client, html, f"{HERE}/answers/{id}", rate_0_0="1", rate_0_1="1")
        (said,) = made.judgements()
        assert said.verdict == Rating(dimension="helpful", values=(1, 1))


def test_nobody_sees_or_changes_the_answers_of_others(cafe: Site) -> None:
    ann, bob = (cafe.client(cafe.person(name)) for name in ("ann", "bob"))
    id = label(ann, choice="0:3")
    label(bob, choice="1:3")
    assert bob.get(f"{HERE}/answers/{id}").status_code == 404
    html = bob.get(f"{HERE}/label").text
    assert send(bob, html, f"{HERE}/answers/{id}", choice="1:1").status_code == 404
    assert send(bob, html, f"{HERE}/answers/{id}/resume").status_code == 404
    stranger = cafe.client(cafe.person("eve", None))
    assert stranger.get(f"{HERE}/answers").status_code == 404
    assert len(cafe.judgements()) == 2


def test_a_decided_question_is_shown_without_a_form(cafe: Site) -> None:
    client = cafe.client(cafe.person("ann"))
    id = label(client, choice="0:3")
    rev = cafe.person("rev", "reviewer")
    with cafe.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, 1, choice(1), now=1)
    html = client.get(f"{HERE}/answers/{id}").text
    assert "A reviewer has decided that question" in html
    assert 'id="send"' not in html
    assert 'class="primary now"' not in html
    assert send(client, html, f"{HERE}/answers/{id}", choice="0:1").status_code == 400


def test_a_question_is_put_off_and_taken_up_with_what_was_filled_in(cafe: Site) -> None:
    client = cafe.client(cafe.person("ann"))
    id = label(client, choice="1:2", note="half a thought", action="later")
    html = client.get(f"{HERE}/label").text
    assert "question 1" in html
    assert cafe.judgements() == []
    listed = client.get(f"{HERE}/answers").text
    assert "To come back to" in listed
    taken = send(client, listed, f"{HERE}/answers/{id}/resume")
    html = client.get(taken.headers["location"]).text
    assert "half a thought</textarea>" in html
    assert "1:2" in checked(html)
    assert send(client, html, f"{HERE}/assignments/{id}", choice="1:2").status_code == 303
    assert len(cafe.judgements()) == 1
    assert "To come back to" not in client.get(f"{HERE}/answers").text


def test_at_the_end_what_was_put_off_is_remembered(tmp_path: Path) -> None:
    with site(tmp_path, [group(0)]) as made:
        ann, bob = (made.client(made.person(name)) for name in ("ann", "bob"))
        id = label(ann, action="later")
        end = ann.get(f"{HERE}/label").text
        assert "All done" in end
        assert "1 to come back to" in end
        label(bob, choice="0:3")
        reply = send(ann, ann.get(f"{HERE}/answers").text, f"{HERE}/answers/{id}/resume")
        assert "Others have answered that question meanwhile" in reply.text


def test_a_long_list_has_further_pages(tmp_path: Path) -> None:
    with site(tmp_path, [group(i) for i in range(55)]) as made:
        client = made.client(made.person("ann"))
        for number in range(53):
            label(client, choice=f"{number % 2}:3")
        first = client.get(f"{HERE}/answers").text
        assert first.count('class="panel row"') == 50
        older = re.search(r'href="(\?before=\d+)"', first)
        assert older
        rest = client.get(f"{HERE}/answers{older[1]}").text
        assert rest.count('class="panel row"') == 3
        assert "question 0" in rest


@pytest.mark.parametrize("before", ["x", "-1", str(10**30)])
def test_a_page_that_is_none_is_no_error(cafe: Site, before: str) -> None:
    client = cafe.client(cafe.person("ann"))
    assert client.get(f"{HERE}/answers?before={before}").status_code in (200, 400, 404)


def test_the_time_of_a_correction_is_that_of_its_page_and_at_most_an_hour(cafe: Site) -> None:
    client = cafe.client(cafe.person("ann"))
    id = label(client, choice="0:3", focused="0")
    html = client.get(f"{HERE}/answers/{id}").text
    send(client, html, f"{HERE}/answers/{id}", choice="1:3", focused="2000")
    assert [j.seconds for j in cafe.judgements()] == [2.0]
    html = client.get(f"{HERE}/answers/{id}").text
    send(client, html, f"{HERE}/answers/{id}", choice="0:3", focused="999999999")
    assert [j.seconds for j in cafe.judgements()] == [3602.0]
    html = client.get(f"{HERE}/answers/{id}").text
    send(client, html, f"{HERE}/answers/{id}", choice="1:3")
    assert [j.seconds for j in cafe.judgements()] == [3602.0]


def test_words_for_every_verdict() -> None:
    from palate.records import Answer
    from palate.web.words import answer_words

    def said(verdict) -> str:
        return answer_words(Answer(verdicts=(verdict,), seconds=1), (2, 0))

    assert said(Choice(chosen=0, strength=1)) == "B is slightly better"
    assert said(Tie()) == "Equal"
    assert said(Tie(both_bad=True)) == "Both bad"
    assert said(Skip(reason="unclear")) == "Skipped: I do not understand it"
    assert said(Skip(reason="undone")) == "Skipped: undone"
    assert said(Ranking(ranks=(0, None, 0))) == "A = B"
    assert said(Ranking(ranks=(1, None, 0))) == "A > B"
