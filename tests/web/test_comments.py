"""People tell the owners about a question, and somebody settles it."""

import re

from tests.web.site import PROJECT, Site, csrf
from tests.web.test_own import send, words

HERE = f"/projects/{PROJECT}"


def test_a_comment_keeps_the_draft_reaches_the_owner_and_is_settled(cafe: Site) -> None:
    ann = cafe.client(cafe.person("zora"))
    html = ann.get(f"{HERE}/label").text
    found = re.search(r"/assignments/(\w+)\"", html)
    assert found
    path = f"{HERE}/assignments/{found[1]}"
    text = "The <b>prompt</b> is cut."
    for _ in range(2):
        reply = send(ann, html, path, action="comment", comment=text, choice="0:3", note="half")
        assert "The owners of this project will see it." in reply.text
        assert "half</textarea>" in reply.text
    assert "Write something first." in send(ann, html, path, action="comment").text
    assert cafe.judgements() == []
    owner = cafe.client(cafe.person("olga", "owner"))
    listed = owner.get(f"{HERE}/questions?state=comment").text
    assert re.findall(r"question \d+", listed) == ["question 0"]
    shown = owner.get(f"{HERE}/disagreements/1").text
    assert shown.count("The &lt;b&gt;prompt&lt;/b&gt; is cut.") == 1
    assert "zora:" in words(shown)
    reviewer = cafe.client(cafe.person("rev", "reviewer"))
    assert "zora" not in reviewer.get(f"{HERE}/disagreements/1").text
    settle = re.search(r'action="([^"]*/comments/\d+)"', shown)
    assert settle
    assert owner.post(settle[1], data={"csrf": csrf(shown)}).status_code == 303
    assert "settled" in words(owner.get(f"{HERE}/disagreements/1").text)
    assert "There are no such questions." in owner.get(f"{HERE}/questions?state=comment").text


def test_nobody_comments_on_a_question_of_somebody_else(cafe: Site) -> None:
    ann, bob = (cafe.client(cafe.person(name)) for name in ("ann", "bob"))
    found = re.search(r"/assignments/(\w+)\"", ann.get(f"{HERE}/label").text)
    assert found
    html = bob.get(f"{HERE}/label").text
    path = f"{HERE}/assignments/{found[1]}"
    assert send(bob, html, path, action="comment", comment="x").status_code == 404
