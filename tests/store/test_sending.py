"""What is sent to people comes first, once; an old question can be asked of one more person."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from palate.records import Group, Response, user_prompt
from palate.store.database import Store
from palate.store.labelling import items, review, sending
from palate.store.labelling.errors import Refused
from palate.store.schema import AuditRow
from tests.store.office import PROJECT, Office, choice


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    office = Office(url, groups=30)
    yield office
    office.desk.close()


def pair(i: int = 0) -> Group:
    answers = (Response(text=f"early {i}", policy="r/1"), Response(text="late", policy="r/2"))
    return Group(prompt=user_prompt(f"watched {i}"), responses=answers)


def send(office: Office, person: int, group: Group) -> bool:
    with office.desk.writing() as connection:
        return sending.send(connection, PROJECT, person, group, source={"run": "r"}, now=office.now)


def again(office: Office, person: int, item: int) -> None:
    with office.desk.writing() as connection:
        sending.ask_again(connection, PROJECT, person, item, now=office.now)


def test_what_is_sent_is_the_next_question_of_everybody_and_then_work_goes_on(
    office: Office,
) -> None:
    ann, olga = office.hire("ann"), office.hire("olga", "owner")
    before = [office.answer(ann).item for _ in range(3)]
    assert before == [1, 2, 3]
    assert send(office, olga, pair(0))
    assert send(office, olga, pair(1))
    groups = [office.answer(ann).group for _ in range(4)]
    assert groups[:2] == [pair(1), pair(0)]
    assert [g.prompt.text for g in groups[2:]] == ["question 3", "question 4"]
    assert [j.group_id for j in office.judgements()][3:5] == [pair(1).id, pair(0).id]


def test_a_sent_pair_is_a_group_like_others_and_is_asked_once(office: Office) -> None:
    ann, olga = office.hire("ann"), office.hire("olga", "owner")
    assert send(office, olga, pair())
    assert not send(office, olga, pair())
    asked = [office.answer(ann).group.id for _ in range(31)]
    assert office.claim(ann) is None
    assert len(set(asked)) == 31
    assert asked.count(pair().id) == 1
    assert not send(office, olga, pair())  # answered, not asked again
    assert office.claim(ann) is None
    with Store(office.url) as store:
        (stored,) = [g for g in store.groups("cafe") if g.id == pair().id]
    assert [r.policy for r in stored.responses] == ["r/1", "r/2"]
    with office.desk.reading() as connection:
        rows = connection.execute(select(AuditRow).where(AuditRow.action == "send")).all()
    (row,) = rows
    assert (row.person_id, row.detail["run"], row.detail["group"]) == (olga, "r", pair().id)


def test_sending_what_waits_in_the_queue_brings_it_to_the_front_and_not_twice(
    url: str,
) -> None:
    office = Office(url, groups=300)
    with Store(url) as store:
        store.add_groups("cafe", [pair()])
    ann, olga = office.hire("ann"), office.hire("olga", "owner")
    office.answer(ann)
    assert send(office, olga, pair())
    asked = []
    while office.claim(ann):
        asked.append(office.answer(ann).group.id)
    assert asked[0] == pair().id
    assert len(asked) == len(set(asked)) == 300
    office.desk.close()


def test_progress_counts_what_was_sent(office: Office) -> None:
    ann, olga = office.hire("ann"), office.hire("olga", "owner")
    office.answer(ann)
    send(office, olga, pair())
    assert (office.progress(ann).wanted, office.progress(ann).remaining) == (31, 30)
    while office.claim(ann):
        office.answer(ann)
    assert (office.progress(ann).wanted, office.progress(ann).remaining) == (31, 0)


def test_with_arms_what_is_sent_is_asked_too(url: str) -> None:
    office = Office(url, groups=5, arms=("outlier",))
    ann, olga = office.hire("ann"), office.hire("olga", "owner")
    assert office.claim(ann) is None  # arms have picked nothing yet
    assert send(office, olga, pair())
    assert office.answer(ann).group == pair()
    assert office.progress(ann).wanted == 6
    office.desk.close()


def test_a_question_in_front_is_leased_like_others(office: Office) -> None:
    ann, bob, olga = office.hire("ann"), office.hire("bob"), office.hire("olga", "owner")
    send(office, olga, pair())
    assert office.claim(ann).group == pair()
    assert office.claim(bob).group != pair()
    office.now += 3600  # ann does not answer
    assert office.claim(bob).group == pair()


def test_one_more_answer_is_asked_of_whoever_has_not_answered(office: Office) -> None:
    ann, bob, rev = office.hire("ann"), office.hire("bob"), office.hire("rev", "reviewer")
    first = office.answer(ann, 0)
    for _ in range(3):
        office.answer(bob)
    again(office, rev, first.item)
    assert office.claim(ann).item != first.item
    assert office.claim(bob).item == first.item
    office.answer(bob, 1)
    assert len([j for j in office.judgements() if j.group_id == first.group.id]) == 2
    assert office.claim(office.hire("carl")).item != first.item  # one answer, not two
    with office.desk.reading() as connection:
        (dispute,) = review.disagreements(connection, PROJECT, limit=10)
    assert (dispute.item, dispute.open) == (first.item, False)
    again(office, rev, first.item)
    with office.desk.reading() as connection:
        (dispute,) = review.disagreements(connection, PROJECT, limit=10)
        actions = connection.scalars(select(AuditRow.action)).all()
    assert dispute.open
    assert actions.count("ask again") == 2


def test_what_is_decided_or_a_check_or_not_there_is_not_asked_again(office: Office) -> None:
    ann, rev = office.hire("ann"), office.hire("rev", "reviewer")
    asked = office.answer(ann)
    with office.desk.writing() as connection:
        questions = [(asked.group.id, asked.shown)]
        items.add_items(connection, PROJECT, questions, purpose="gold", expected=choice(0))
        check = items.next_position(connection, PROJECT) - 1
    again(office, rev, asked.item)
    with office.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, asked.item, choice(1), now=office.now)
    assert office.claim(office.hire("bob")).item != asked.item  # the decision closed it
    for item, reason in ((asked.item, "is_decided"), (check, "no_item"), (999, "no_item")):
        with pytest.raises(Refused, match=reason):
            again(office, rev, item)
