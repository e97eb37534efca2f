"""Every question is given to as many people as wanted, once to each, for a time."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text

from palate.records import (
    Answer,
    LabelTask,
    Ranking,
    Skip,
)
from palate.store.database import Store
from palate.store.labelling import Desk, items, review
from palate.store.labelling.errors import Refused
from palate.store.schema import AssignmentRow
from tests.store.office import PROJECT, Office, choice, gold, group


def test_a_reload_shows_the_same_question_and_an_answer_the_next(office: Office) -> None:
    ann = office.hire("ann")
    first = office.claim(ann)
    assert office.claim(ann) == first
    office.submit(ann, first, choice(0))
    assert office.claim(ann).item == first.item + 1


def test_each_side_is_shown_first_equally_often_to_everybody(office: Office) -> None:
    for name in ("ann", "bob"):
        person = office.hire(name)
        first = [office.answer(person, chosen=i % 2).order[0] for i in range(12)]
        assert sum(first[1:11]) == 5, "within two questions of each other"
        assert len(set(map(tuple, zip(first[1:10:2], first[2:11:2], strict=True)))) <= 2


def test_places_of_a_ranking_are_balanced_over_k_questions() -> None:
    orders = [items.balanced_order((0, 1, 2, 3), number, "ann") for number in range(4, 8)]
    for place in range(4):
        assert sorted(order[place] for order in orders) == [0, 1, 2, 3]
    assert orders[0] != items.balanced_order((0, 1, 2, 3), 4, "bob") or orders[1:] != [
        items.balanced_order((0, 1, 2, 3), number, "bob") for number in range(5, 8)
    ]


def test_a_skipped_question_goes_to_somebody_else_and_never_back(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = office.claim(ann)
    office.submit(ann, asked, Answer(verdicts=(Skip(reason="unclear"),), seconds=1))
    assert office.claim(ann).item == 2
    assert office.claim(bob).item == 1
    assert office.judgements()[0].verdict == Skip(reason="unclear")
    assert office.progress(ann).answered == 0


def test_a_lease_ends_and_the_question_goes_on_but_a_late_answer_is_kept_and_marked(
    office: Office,
) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = office.claim(ann)
    office.now += 31 * 60
    other = office.claim(bob)
    assert other.item == asked.item
    office.submit(bob, other, choice(0))
    office.submit(ann, asked, choice(1))
    assert [j.judge for j in office.judgements()] == ["person:bob", "person:ann"]
    with office.desk.reading() as connection:
        bodies = connection.scalars(select(AssignmentRow.answer))
        assert sorted(body["late"] for body in bodies) == [False, True]


def test_nobody_reaches_the_assignment_of_somebody_else(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = office.claim(ann)
    with pytest.raises(Refused, match="no_assignment"):
        office.submit(bob, asked, choice(0))
    with pytest.raises(Refused, match="no_member"):
        office.claim(99)


def test_the_same_people_never_meet_a_question_twice_and_overlap_is_met(url: str) -> None:
    office = Office(url, groups=6, overlap=2)
    people = [office.hire(name) for name in ("ann", "bob", "cem")]
    met: dict[int, list[int]] = {}
    while True:
        served = [(p, asked) for p in people if (asked := office.claim(p))]
        if not served:
            break
        for person, asked in served:
            met.setdefault(asked.item, []).append(person)
            office.submit(person, asked, choice(len(met) % 2))
    assert sorted(met) == [1, 2, 3, 4, 5, 6]
    assert all(len(set(by)) == len(by) == 2 for by in met.values())
    assert office.progress(people[0]).remaining == 0
    office.desk.close()


def test_pairs_of_larger_groups_are_drawn_without_repetition(tmp_path: Path) -> None:
    office = Office(f"sqlite:///{tmp_path / 'a.db'}", groups=5, k=4, pairs_per_group=3)
    ann = office.hire("ann")
    seen = Counter()
    while (asked := office.claim(ann)) is not None:
        seen[asked.group.id, asked.shown] += 1
        office.submit(ann, asked, choice(asked.order[asked.number % 2]))
    assert len(seen) == 15
    assert set(seen.values()) == {1}


def test_groups_that_are_sampled_later_are_asked_about_too(office: Office) -> None:
    ann = office.hire("ann")
    for i in range(30):
        office.answer(ann, chosen=i % 2)
    assert office.claim(ann) is None
    with Store(office.url) as store:
        store.add_groups("cafe", [group(99)])
    assert office.claim(ann).group == group(99)


def test_what_is_asked_is_fixed_by_the_first_answer_and_not_by_looking(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    for _ in range(3):
        asked = office.claim(ann)
        office.submit(ann, asked, Answer(verdicts=(Skip(reason="unclear"),), seconds=1.0))
    assert office.claim(bob).item == 1
    with office.desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(kind="ranking"))
    first = office.claim(ann)
    assert (first.task.kind, first.item) == ("ranking", 1), "the queue begins again"
    office.submit(ann, first, Answer(verdicts=(Ranking(ranks=(0, 1)),), seconds=1.0))
    with office.desk.writing() as connection, pytest.raises(Refused, match="kind_is_fixed"):
        items.save_task(connection, PROJECT, LabelTask(kind="pairwise"))
    with office.desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(kind="ranking", overlap=3))
    assert office.claim(bob).item == 1
    assert office.progress(ann).answered == 1


def test_checks_outlive_a_change_of_what_is_asked(office: Office) -> None:
    gold(office, 2)
    office.claim(office.hire("ann"))
    with office.desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(kind="rating"))
        assert review.checks(connection, PROJECT) == 2


def test_the_default_task_is_no_decision_of_an_owner(url: str) -> None:
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
    with Desk(url) as desk, desk.writing() as connection:
        assert not items.is_set_up(connection, PROJECT)
        items.enqueue(connection, PROJECT)
        assert not items.is_set_up(connection, PROJECT)
        items.save_task(connection, PROJECT, LabelTask())
        assert items.is_set_up(connection, PROJECT)


def test_sixty_four_people_at_once_lose_nothing_and_never_exceed_the_overlap(url: str) -> None:
    office = Office(url, groups=80, overlap=2)
    people = [office.hire(f"p{i}") for i in range(64)]
    barrier = threading.Barrier(64)

    def work(person: int) -> None:
        barrier.wait()
        for _ in range(2):
            asked = office.claim(person)
            office.submit(person, asked, choice(person % 2))

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, people))
    with office.desk.reading() as connection:
        taken = connection.execute(
            text("SELECT item, count(DISTINCT person_id), count(*) FROM assignments GROUP BY item")
        ).all()
        states = connection.execute(text("SELECT DISTINCT state FROM assignments")).scalars().all()
    assert states == ["answered"]
    assert all(people == given <= 2 for _, people, given in taken)
    assert len(office.judgements()) == 128
    office.desk.close()
