"""Questions whose answer is known, or was given before, tell who works carefully."""

from pathlib import Path

import pytest

from palate.store.labelling import rights
from palate.store.labelling.errors import Refused
from tests.store.office import PROJECT, Office, choice, gold


def test_newcomers_qualify_on_checks_and_are_told_what_was_right(url: str) -> None:
    office = Office(url, groups=5, qualification=4, pass_mark=0.75)
    gold(office, 4)
    ann, bob = office.hire("ann"), office.hire("bob")
    for person, right in ((ann, (1, 1, 0, 1)), (bob, (1, 0, 0, 1))):
        for chosen in right:
            asked = office.claim(person)
            assert asked.purpose == "attention"
            told = office.submit(person, asked, choice(chosen))
            assert (told.agreed, told.preferred) == (chosen == 1, (1,))
    assert office.claim(ann).purpose == "ordinary"
    assert (office.member("bob").state, office.member("bob").reason) == ("paused", "qualification")
    with pytest.raises(Refused, match="paused"):
        office.claim(bob)
    assert office.judgements() == [], "checks are not training data"
    office.desk.close()


def test_whoever_fails_checks_is_paused_until_the_owner_says_otherwise(tmp_path: Path) -> None:
    office = Office(f"sqlite:///{tmp_path / 'a.db'}", groups=200, gold_every=4)
    gold(office, 12)
    ann = office.hire("ann")
    purposes = []
    while office.member("ann").state == "active":
        asked = office.claim(ann)
        purposes.append(asked.purpose)
        chosen = 0 if asked.purpose == "attention" else asked.number % 2
        office.submit(ann, asked, choice(chosen))
    with pytest.raises(Refused, match="paused"):
        office.claim(ann)
    assert purposes.count("attention") == 5
    assert 16 <= len(purposes) <= 24, "one in four"
    assert office.member("ann").reason == "checks"
    with office.desk.writing() as connection:
        rights.change_state(connection, PROJECT, ann, "active", by=1, now=office.now)
    assert office.claim(ann) is not None


@pytest.mark.parametrize(
    ("fault", "seconds", "side"), [("speed", 0.4, None), ("side", 9.0, 0), ("", 9.0, None)]
)
def test_speed_and_one_sidedness_pause(
    tmp_path: Path, fault: str, seconds: float, side: int | None
) -> None:
    office = Office(f"sqlite:///{tmp_path / 'a.db'}", groups=60, fastest_seconds=1.0)
    ann = office.hire("ann")
    for i in range(30):
        try:
            asked = office.claim(ann)
        except Refused:
            break
        chosen = asked.order[i % 3 % 2 if side is None else side]
        office.submit(ann, asked, choice(chosen, seconds))
    assert (office.member("ann").state, office.member("ann").reason) == (
        "paused" if fault else "active",
        fault,
    )


def test_repeated_questions_measure_consistency_and_are_no_votes(tmp_path: Path) -> None:
    office = Office(f"sqlite:///{tmp_path / 'a.db'}", groups=60, repeat_every=5)
    ann = office.hire("ann")
    first: dict[int, int] = {}
    repeats = 0
    for i in range(50):
        asked = office.claim(ann)
        if asked.purpose == "repeat":
            repeats += 1
            assert asked.number - first[asked.item] > 10
        else:
            assert asked.item not in first
            first[asked.item] = asked.number
        office.submit(ann, asked, choice(asked.order[i % 2]))
    assert repeats in (7, 8, 9)
    assert len(office.judgements()) == 50 - repeats
