"""Reviewers decide what people disagree about."""

from sqlalchemy import create_engine, text

from palate.feedback.aggregate import settled
from palate.records import (
    LabelTask,
)
from palate.store.database import Store
from palate.store.labelling import items, review
from tests.store.office import PROJECT, Office, choice, group


def test_a_reviewer_decides_what_annotators_disagree_about(url: str) -> None:
    office = Office(url, groups=3, overlap=2)
    ann, bob, rev = office.hire("ann"), office.hire("bob"), office.hire("rev", "reviewer")
    for first, second in ((0, 0), (0, 1), (1, 1)):
        office.answer(ann, first)
        office.answer(bob, second)
    with office.desk.reading() as connection:
        (dispute,) = review.disagreements(connection, PROJECT, limit=10)
    assert dispute.group == group(1)
    assert [label for label, _ in dispute.answers] == ["#1", "#2"]
    with office.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, dispute.item, choice(1), now=office.now)
        assert review.disagreements(connection, PROJECT, limit=10) == []
    about = [j for j in office.judgements() if j.group_id == group(1).id]
    assert [(j.judge, j.verdict.kind) for j in about] == [
        ("person:rev", "choice"),
        ("person:rev", "skip"),
    ]
    with Store(office.url) as store:
        rows = {g.id: settled(g, said) for g, said in store.judged_groups("cafe")}
    (preference,) = rows[group(1).id].preferences
    assert (preference.winner, preference.probability) == (1, 1.0)
    with create_engine(url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM judgements")).scalar() == 8
    office.desk.close()


def test_a_decided_question_can_become_a_check(office: Office) -> None:
    ann, rev = office.hire("ann"), office.hire("rev", "reviewer")
    asked = office.answer(ann, 1)
    with office.desk.writing() as connection:
        review.make_check(connection, PROJECT, rev, asked.item, choice(1), now=office.now)
        task = LabelTask(gold_every=1)
        items.save_task(connection, PROJECT, task)
    check = office.claim(office.hire("bob"))
    assert (check.purpose, check.group) == ("gold", asked.group)
