"""Arms pick what people are asked, a control stays random, and the page shows what came of it."""

import re
from collections import Counter
from pathlib import Path

from palate.records import Answer, Choice, Group, Judgement, Response, Scores, user_prompt
from palate.store.database import Store
from palate.store.labelling import answers, asking, items, lease, review
from palate.web.asking import arms, fill
from tests.web.site import PROJECT, Site, site

ARMS = ("uncertain", "outlier", "disputed")


def pairs(count: int) -> list[Group]:
    return [
        Group(
            prompt=user_prompt(f"question {i}"),
            responses=(Response(text=f"a {i}"), Response(text=f"b {i}" + "!" * (90 * (i == 7)))),
        )
        for i in range(count)
    ]


def score(made: Site, groups: list[Group]) -> None:
    """A reward model prefers the first response, and less surely the later the group."""
    said = [
        Judgement(group_id=g.id, judge="reward", verdict=Scores(values=(6.0 - 0.1 * i, 0.0)))
        for i, g in enumerate(groups)
    ]
    with Store(made.url) as store:
        store.add_judgements("cafe", said)


def label(made: Site, name: str, chosen: int) -> int:
    """Somebody answers until nothing is left; how many questions that were."""
    person, number = made.person(name), 0
    while True:
        with made.desk.writing() as connection:
            id = lease.claim(connection, PROJECT, person, now=made.desk.clock())
            if id:
                said = Answer(verdicts=(Choice(chosen=chosen),), seconds=4)
                now = made.desk.clock()
                answers.submit(connection, PROJECT, person, id, said, revision=0, now=now)
        number += bool(id)
        if not id and not fill(made.desk, PROJECT):
            return number


def test_arms_ask_what_they_say_and_every_prompt_once(tmp_path: Path) -> None:
    groups = pairs(55)
    with site(tmp_path, groups, arms=ARMS, control=0.25) as made:
        score(made, groups)
        assert fill(made.desk, PROJECT)
        with made.desk.reading() as connection:
            events = connection.exec_driver_sql(
                "select json_extract(detail, '$.arm'), json_array_length(detail, '$.items') "
                "from audit where action = 'ask'"
            ).all()
            rows = connection.exec_driver_sql("select position, group_id from items").all()
            detail = connection.exec_driver_sql(
                "select detail from audit where detail like '%uncertain%'"
            ).scalar_one()
        assert dict(map(tuple, events)) == {"random": 10, "uncertain": 15, "outlier": 15}
        place = {groups[i].id: i for i in range(55)}
        asked = {position: place[id] for position, id in rows}
        uncertain = {asked[int(i)] for i in re.findall(r"\d+", detail)}
        assert min(uncertain) > 25  # the later, the closer
        assert 7 in asked.values()  # the longest answer
        assert label(made, "ann", 0) == 55
        with made.desk.reading() as connection:
            assert review.progress(connection, PROJECT, None).remaining == 0


def test_what_people_and_the_model_see_differently_is_asked_once_more_of_others(
    tmp_path: Path,
) -> None:
    groups = pairs(20)
    with site(tmp_path, groups, arms=("disputed",), control=0.5) as made:
        score(made, groups)
        assert label(made, "ann", 1) == 20  # against the model, every time
        assert label(made, "bob", 1) == 20
        assert label(made, "eve", 1) == 0  # two answers were enough
        found = {one.arm: one for one in arms(made.desk, PROJECT)}
        assert Counter({arm: one.n for arm, one in found.items()}) == {"random": 20, "disputed": 20}
        assert found["random"].surprise.estimate == 1
        page = made.client(made.person("olga", "owner")).get("/projects/1/quality").text
        assert "not told apart from random" in page


def test_two_who_plan_at_once_ask_nothing_twice(tmp_path: Path) -> None:
    with site(tmp_path, pairs(30), arms=("outlier",)) as made:
        with made.desk.reading() as connection:
            task = items.task_of(connection, PROJECT)
            found = asking.candidates(connection, PROJECT, task)
        chosen = [(candidate, "random") for candidate in found]
        for added in (30, 0):
            with made.desk.writing() as connection:
                assert asking.ask(connection, PROJECT, chosen, now=0) == added


def test_without_arms_again_the_rest_is_asked_in_order(tmp_path: Path) -> None:
    with site(tmp_path, pairs(60), arms=("outlier",)) as made:
        fill(made.desk, PROJECT)
        with made.desk.writing() as connection:
            task = items.task_of(connection, PROJECT)
            items.save_task(connection, PROJECT, task.model_copy(update={"arms": ()}))
        assert label(made, "ann", 0) == 60
