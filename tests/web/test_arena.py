"""An arena is blind until the vote, names policies after it, and its leaderboard claims no more
than the votes show."""

import re
from collections import Counter
from pathlib import Path

import pytest

from palate.records import Group, LabelTask, Response, user_prompt
from palate.web.kept import Kept
from tests.web.site import PROJECT, Site, csrf, group, site


def four(i: int) -> Group:
    """Two answers of each of two policies."""
    named = ("alpha", "alpha", "omega", "omega")
    responses = tuple(Response(text=f"text {i}.{j}", policy=p) for j, p in enumerate(named))
    return Group(prompt=user_prompt(f"question {i}"), responses=responses)


def vote(client, made: Site, choice: str) -> str:
    """Answer the open question, and give the page that follows."""
    html = client.get("/projects/1/label").text
    target = re.search(r'action="(/projects/1/assignments/\w+)"', html)
    assert target, html
    form = {"csrf": csrf(html), "revision": "0", "choice": choice, "action": "answer"}
    after = client.post(target[1], data=form)
    assert after.status_code == 303, after.text
    return client.get(after.headers["location"]).text


def test_policies_are_named_after_the_vote_and_never_before(tmp_path: Path) -> None:
    with site(tmp_path, [four(i) for i in range(30)], compare="policies") as made:
        client = made.client(made.person("ann"))
        before = client.get("/projects/1/label").text
        assert "alpha" not in before
        assert "omega" not in before
        texts = re.findall(r"text \d+\.\d", before)
        policy = {"0": "alpha", "1": "alpha", "2": "omega", "3": "omega"}
        places = [policy[text[-1]] for text in dict.fromkeys(texts)]
        assert sorted(places) == ["alpha", "omega"]
        after = vote(client, made, "0:2")
        assert f"<b>A</b> {places[0]}" in after
        assert f"<b>B</b> {places[1]}" in after
        assert "alpha" not in client.get("/projects/1/label").text
        undone = client.post("/projects/1/undo", data={"csrf": csrf(after)})
        assert "it stands" in undone.text


def test_nobody_learns_the_policies_of_a_question_that_is_open_or_anothers(tmp_path: Path) -> None:
    with site(tmp_path, [four(i) for i in range(30)], compare="policies") as made:
        ann, bob = (made.client(made.person(name)) for name in ("ann", "bob"))
        open_ = re.search(r"assignments/(\w+)", ann.get("/projects/1/label").text)
        assert open_
        assert "alpha" not in ann.get(f"/projects/1/label?voted={open_[1]}").text
        assert bob.get(f"/projects/1/label?voted={open_[1]}").status_code == 404


def test_each_policy_is_on_each_side_equally_often(tmp_path: Path) -> None:
    with site(tmp_path, [group(i) for i in range(30)], compare="policies") as made:
        client = made.client(made.person("ann"))
        left: Counter[str] = Counter()
        for _ in range(20):
            after = vote(client, made, "tie")
            left[re.search(r"<b>A</b> (\S+?)<", after)[1]] += 1  # type: ignore[index]
        assert left == {"policy-0": 10, "policy-1": 10}


def test_a_pair_of_one_policy_is_not_asked_about(tmp_path: Path) -> None:
    alone = Group(prompt=user_prompt("same"), responses=(Response(text="a", policy="p"),) * 2)
    with site(tmp_path, [alone], compare="policies") as made:
        assert "All done" in made.client(made.person("ann")).get("/projects/1/label").text


def test_an_arena_shows_no_text_again_after_its_policy_was_named() -> None:
    with pytest.raises(ValueError, match="one pair per prompt"):
        LabelTask(compare="policies", pairs_per_group=2)


def test_the_leaderboard_ranks_what_won_and_warns_of_what_was_never_beaten(tmp_path: Path) -> None:
    with site(tmp_path, [group(i) for i in range(30)], compare="policies") as made:
        client = made.client(made.person("ann"))
        assert "No votes between policies yet" in client.get("/projects/1/leaderboard").text
        for _ in range(12):
            html = client.get("/projects/1/label").text
            first = re.search(r"answer \d+\.(\d)", html)
            assert first
            vote(client, made, "0:2" if first[1] == "1" else "1:2")  # policy-1 always wins
        made.desk.clock = lambda: 0.0
        fresh = made.client(made.person("olga", "owner")).get("/projects/1/leaderboard").text
        rows = re.findall(r'<th scope="row">(policy-\d)</th>', fresh)
        assert rows == ["policy-1", "policy-0"]
        assert "12 / 0 / 0" in fresh
        assert "fall into 2 sets" in fresh


def test_outside_an_arena_only_owners_see_the_leaderboard(cafe: Site) -> None:
    for role, status in (("annotator", 403), ("reviewer", 403), ("owner", 200)):
        client = cafe.client(cafe.person(role, role))
        assert client.get(f"/projects/{PROJECT}/leaderboard").status_code == status


def test_statistics_are_counted_again_for_new_votes_but_not_at_every_look() -> None:
    now = [0.0]
    kept: Kept[int] = Kept(clock=lambda: now[0])
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [kept.get("p", 1, make), kept.get("p", 1, make), kept.get("p", 2, make)] == [0, 0, 0]
    now[0] = 16.0
    assert [kept.get("p", 2, make), kept.get("q", 2, make), kept.get("p", 2, make)] == [1, 2, 1]
