"""The list of all questions is searched by state, by who answered and by words."""

from collections.abc import Iterator

import pytest

from palate.records import Answer, Skip
from palate.store.labelling import browse, items, review
from tests.store.office import PROJECT, Office, choice, gold


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    office = Office(url, 6, overlap=2)
    with office.desk.writing() as connection:
        items.enqueue(connection, PROJECT)
    yield office
    office.desk.close()


def found(office: Office, *, after: int | None = None, limit: int = 50, **wanted) -> browse.Found:
    with office.desk.reading() as connection:
        return browse.questions(
            connection, PROJECT, browse.Wanted(**wanted), after=after, limit=limit
        )


def positions(office: Office, **wanted) -> list[int]:
    return [one.item for one in found(office, **wanted).questions]


def test_states_say_what_became_of_each_question(office: Office) -> None:
    ann, bob, rev = (office.hire(n) for n in ("ann", "bob", "rev"))
    for chosen in (0, 0, 0):
        office.answer(ann, chosen)
    office.submit(ann, office.claim(ann), Answer(verdicts=(Skip(reason="broken"),), seconds=1))
    for chosen in (0, 1, 1):
        office.answer(bob, chosen)
    with office.desk.writing() as connection:
        review.adjudicate(connection, PROJECT, rev, 3, choice(1), now=1)
    gold(office, 1)
    assert positions(office) == [1, 2, 3, 4, 5, 6, 7]
    assert positions(office, state="answered") == [1, 2, 3]
    assert positions(office, state="unanswered") == [4, 5, 6]
    assert positions(office, state="open") == [4, 5, 6]
    assert positions(office, state="disputed") == [2]
    assert positions(office, state="decided") == [3]
    assert positions(office, state="skipped") == [4]
    assert positions(office, state="check") == [7]
    assert positions(office, person=bob) == [1, 2, 3]
    assert positions(office, person=bob, state="disputed") == [2]
    assert positions(office, person=rev) == []
    second = found(office, state="disputed").questions[0]
    assert sorted(name for name, _ in second.answers) == ["ann", "bob"]


def test_words_are_found_in_prompts_and_responses_in_any_case(office: Office) -> None:
    assert positions(office, text="QUESTION 3") == [4]
    assert positions(office, text="answer 5.1") == [6]
    assert positions(office, text="role") == []  # a word of the file, not of the text
    assert positions(office, text="%") == []


def test_pages_follow_one_another_without_gap_or_repetition(office: Office) -> None:
    seen: list[int] = []
    after = None
    while True:
        page = found(office, after=after, limit=2)
        seen += [one.item for one in page.questions]
        after = page.next
        if after is None:
            break
    assert seen == [1, 2, 3, 4, 5, 6]
    assert found(office, text="question", limit=4).next == 4


def test_a_search_that_finds_little_ends_and_says_where_to_go_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "_WINDOW", 2)
    monkeypatch.setattr(browse, "_LOOKED_AT", 4)
    page = found(office, text="question 5")
    assert (page.questions, page.next) == ((), 4)
    assert [one.item for one in found(office, text="question 5", after=4).questions] == [6]
