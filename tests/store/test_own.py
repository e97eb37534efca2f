"""People look at their own answers, correct them by new events, and put questions off."""

from collections.abc import Iterator

import pytest

from palate.records import Answer, Choice, Skip, Tie
from palate.store.labelling import answers, own, review
from palate.store.labelling.errors import Refused
from tests.store.office import PROJECT, Office, choice, gold


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    office = Office(url, 4, overlap=2)
    yield office
    office.desk.close()


def correct(office: Office, person: int, asked, answer: Answer, *, revision: int = 0) -> None:
    with office.desk.writing() as connection:
        own.correct(
            connection, PROJECT, person, asked.id, answer, revision=revision, now=office.now
        )


def listed(office: Office, person: int) -> list[own.OwnAnswer]:
    with office.desk.reading() as connection:
        return own.own_answers(connection, PROJECT, person, before=10**9, limit=50)


def put_off(office: Office, person: int, asked, draft=None) -> None:
    with office.desk.writing() as connection:
        own.set_aside(
            connection, PROJECT, person, asked.id, draft or {}, revision=asked.revision, now=0
        )


def come_back(office: Office, person: int, asked) -> bool:
    with office.desk.writing() as connection:
        return own.come_back(connection, PROJECT, person, asked.id, now=office.now)


def stored(office: Office, id: str) -> str:
    with office.desk.reading() as connection:
        row = "select state from assignments where id = '" + id + "'"
        return connection.exec_driver_sql(row).scalar_one()


def all_judgements(office: Office) -> int:
    with office.desk.reading() as connection:
        return connection.exec_driver_sql("select count(*) from judgements").scalar_one()


def test_a_correction_supersedes_and_everything_stays_on_record(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.answer(ann, 0)
    correct(office, ann, asked, choice(1, seconds=3))
    (said,) = office.judgements()
    assert said.verdict == Choice(chosen=1, strength=2)
    assert said.seconds == 8  # the question took both
    assert said.supersedes is not None
    assert all_judgements(office) == 2
    assert office.progress(ann).answered == 1
    correct(office, ann, asked, choice(0, seconds=1), revision=1)
    (said,) = office.judgements()
    assert said.verdict == Choice(chosen=0, strength=2)
    assert all_judgements(office) == 3


def test_the_same_correction_sent_twice_counts_once(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.answer(ann, 0)
    for _ in range(2):
        correct(office, ann, asked, choice(1))
    assert all_judgements(office) == 2


def test_a_better_answer_that_a_correction_leaves_out_is_taken_back(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    better = Answer(verdicts=(Choice(chosen=0),), seconds=1, better="my own")
    office.submit(ann, asked, better)
    assert [j.verdict.kind for j in office.judgements()] == ["choice", "ranking"]
    correct(office, ann, asked, choice(1))
    assert sorted(j.verdict.kind for j in office.judgements()) == ["choice", "skip"]
    correct(office, ann, asked, better, revision=1)
    kinds = [j.verdict.kind for j in office.judgements() if j.verdict != Skip(reason="undone")]
    assert sorted(kinds) == ["choice", "ranking"]


def test_a_skip_becomes_an_answer_and_is_counted(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    office.submit(ann, asked, Answer(verdicts=(Skip(reason="unclear"),), seconds=1))
    assert office.progress(ann).answered == 0
    correct(office, ann, asked, choice(1))
    assert office.progress(ann).answered == 1
    assert office.progress(ann).mine == 1
    (said,) = office.judgements()
    assert said.verdict == Choice(chosen=1, strength=2)


def test_undo_takes_a_correction_back_whole(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.answer(ann, 0)
    correct(office, ann, asked, choice(1))
    assert office.undo(ann) == asked.id
    assert [j.verdict for j in office.judgements()] == [Skip(reason="undone")]
    assert office.progress(ann).answered == 0
    again = office.answer(ann, 0)
    assert again.id == asked.id
    (said,) = office.judgements()
    assert said.verdict == Choice(chosen=0, strength=2)


def test_what_a_reviewer_decided_stays_decided(office: Office) -> None:
    ann, rev = office.hire("ann"), office.hire("rev", "reviewer")
    asked = office.answer(ann, 0)
    with office.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, asked.item, choice(1), now=1)
    with pytest.raises(Refused, match="decided_meanwhile"):
        correct(office, ann, asked, choice(0))
    (said,) = office.judgements()
    assert said.judge == "person:rev"


def test_a_question_is_decided_once(office: Office) -> None:
    office.answer(office.hire("ann"), 0)
    rev, ron = office.hire("rev", "reviewer"), office.hire("ron", "reviewer")
    with office.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, 1, choice(1), now=1)
    for reviewer in (rev, ron):
        with (
            pytest.raises(Refused, match="is_decided"),
            office.desk.writing() as connection,
        ):
            review.adjudicate(connection, PROJECT, reviewer, 1, choice(0), now=2)
    assert len(office.judgements()) == 1


def test_nobody_corrects_what_is_not_theirs_or_while_paused(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = office.answer(ann, 0)
    with pytest.raises(Refused, match="no_assignment"):
        correct(office, bob, asked, choice(1))
    with pytest.raises(Refused, match="answer_does_not_fit"):
        correct(office, ann, asked, choice(7))
    with office.desk.writing() as connection:
        connection.exec_driver_sql("update members set state = 'paused'")
    with pytest.raises(Refused, match="paused"):
        correct(office, ann, asked, choice(1))


def test_a_vote_after_which_policies_were_named_is_not_corrected(url: str) -> None:
    office = Office(url, 2)
    ann = office.hire("ann")
    asked = office.answer(ann, 0)
    with office.desk.writing() as connection:
        connection.exec_driver_sql(
            "update tasks set body = replace(cast(body as text), '\"responses\"', '\"policies\"')"
            + ("::json" if url.startswith("postgresql") else "")
        )
    with pytest.raises(Refused, match="no_undo_in_arena"):
        correct(office, ann, asked, choice(1))
    office.desk.close()


def test_a_check_is_listed_and_corrected_like_any_question_and_counts_as_answered_first(
    url: str,
) -> None:
    office = Office(url, 4, gold_every=1)
    gold(office, 1)
    ann = office.hire("ann")
    asked = office.answer(ann, 0)
    assert asked.purpose == "attention"
    before = all_judgements(office)
    correct(office, ann, asked, choice(1))
    (mine,) = listed(office, ann)
    assert mine.answer.verdicts == (Choice(chosen=1, strength=2),)
    assert all_judgements(office) == before
    with office.desk.reading() as connection:
        assert review.checks(connection, PROJECT) == 1
        from palate.store.labelling.checks import check_results

        assert check_results(connection, PROJECT, ann) == [False]
    office.desk.close()


def test_an_answer_to_which_the_expected_one_was_told_stands(url: str) -> None:
    office = Office(url, 4, qualification=3)
    gold(office, 3)
    ann = office.hire("ann")
    office.answer(ann, 0)
    with pytest.raises(Refused, match="no_undo_in_qualifying"):
        office.undo(ann)
    office.desk.close()


def test_own_answers_come_newest_first_and_are_ones_own(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = [office.answer(ann, i % 2) for i in range(3)]
    office.answer(bob, 1)
    mine = listed(office, ann)
    assert [one.id for one in mine] == [one.id for one in reversed(asked)]
    with office.desk.reading() as connection:
        rest = own.own_answers(connection, PROJECT, ann, before=mine[0].number, limit=1)
    assert [one.id for one in rest] == [mine[1].id]


def test_what_is_put_off_goes_to_others_and_comes_back_with_its_draft(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    put_off(office, ann, asked, {"choice": ["1:2"]})
    following = office.claim(ann)
    assert following.item != asked.item
    assert office.claim(office.hire("bob")).item == asked.item
    with office.desk.reading() as connection:
        assert own.count_put_off(connection, PROJECT, ann) == 1
        (waits,) = own.put_off(connection, PROJECT, ann, limit=9)
    assert waits.answer is None
    for _ in range(2):
        assert come_back(office, ann, asked)
    with office.desk.reading() as connection:
        taken = answers.assignment(connection, PROJECT, ann, asked.id)
    assert (taken.order, taken.draft) == (asked.order, {"choice": ["1:2"]})
    office.submit(ann, taken, choice(1))
    assert office.progress(ann).answered == 1
    assert len(office.judgements()) == 1


def test_what_others_have_answered_meanwhile_does_not_come_back(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    put_off(office, ann, asked)
    for name in ("bob", "cem"):
        office.answer(office.hire(name))
    assert not come_back(office, ann, asked)
    assert stored(office, asked.id) == "expired"


def test_an_answer_to_a_question_that_was_put_off_in_another_tab_is_kept(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    put_off(office, ann, asked)
    office.submit(ann, asked, Answer(verdicts=(Tie(),), seconds=1))
    assert office.progress(ann).answered == 1
    with office.desk.reading() as connection:
        taken = "select taken from items where position = 1"
        assert connection.exec_driver_sql(taken).scalar_one() == 1


def test_at_the_end_of_the_queue_nothing_that_was_put_off_is_given_out(office: Office) -> None:
    ann = office.hire("ann")
    first = office.claim(ann)
    put_off(office, ann, first)
    for _ in range(3):
        office.answer(ann)
    assert office.claim(ann) is None


def test_a_lease_that_ended_keeps_the_places_of_its_draft(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    with office.desk.writing() as connection:
        draft = {"choice": ["0:3"]}
        answers.save_draft(connection, PROJECT, ann, asked.id, draft, revision=0)
    for turn in range(6):  # numbers of both parities
        office.now += 31 * 60
        if turn % 2:
            office.claim(office.hire(f"p{turn}"))
        again = office.claim(ann)
        if again.id == asked.id:
            assert (again.order, again.draft) == (asked.order, draft)
