"""Answers become judgements, once each, and are undone by further events."""

from pathlib import Path

import pytest

from palate.feedback.aggregate import settled
from palate.records import (
    Answer,
    Choice,
    Ranking,
    Rating,
    Response,
    Tie,
)
from palate.store.database import Store
from palate.store.labelling import Desk, answers
from palate.store.labelling.errors import Refused
from tests.store.office import PROJECT, Office, choice


def test_an_answer_becomes_a_judgement_with_its_order_time_reasons_and_note(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    answer = Answer(
        verdicts=(Choice(chosen=1, strength=3),), seconds=7.5, reasons=("clear",), note="so"
    )
    office.submit(ann, asked, answer)
    (said,) = office.judgements()
    assert (said.judge, said.group_id, said.order) == ("person:ann", asked.group.id, asked.order)
    assert said.verdict == Choice(chosen=1, strength=3)
    assert (said.seconds, said.reasons, said.note) == (7.5, ("clear",), "so")


def test_sending_an_answer_twice_counts_once(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    for chosen in (0, 1, 0):
        office.submit(ann, asked, choice(chosen))
    assert [j.verdict.chosen for j in office.judgements()] == [0]
    assert office.progress(ann).mine == office.progress(ann).answered == 1


def test_undo_reopens_the_last_ten_one_by_one_and_no_more(office: Office) -> None:
    ann = office.hire("ann")
    done = [office.answer(ann, chosen=i % 2) for i in range(12)]
    assert office.claim(ann).item == 13
    assert [office.undo(ann) for _ in range(10)] == [a.id for a in done[:1:-1]]
    with pytest.raises(Refused, match="nothing_to_undo"):
        office.undo(ann)
    assert office.progress(ann).mine == 2
    verdicts = [j.verdict for j in office.judgements()]
    assert [v.kind for v in verdicts] == ["choice"] * 2 + ["skip"] * 10
    again = [office.answer(ann, chosen=1) for _ in range(10)]
    assert [a.id for a in again] == [a.id for a in done[2:]], "oldest first"
    assert [a.order for a in again] == [a.order for a in done[2:]]
    chosen = [j.verdict.chosen for j in office.judgements()]
    assert chosen == [0, 1] + [1] * 10
    assert office.claim(ann).item == 13


def test_an_answer_from_before_an_undo_is_not_taken(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.answer(ann)
    office.undo(ann)
    office.submit(ann, asked, choice(1))
    assert [j.verdict.kind for j in office.judgements()] == ["skip"]


def test_a_draft_survives_and_ends_with_the_answer(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    with office.desk.writing() as connection:
        answers.save_draft(connection, PROJECT, ann, asked.id, {"note": "half a th"}, revision=0)
    assert office.claim(ann).draft == {"note": "half a th"}
    office.submit(ann, asked, choice(0))
    office.undo(ann)
    assert office.claim(ann).draft == {}


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("pairwise", Choice(chosen=2)),
        ("pairwise", Ranking(ranks=(0, 1, 2))),
        ("ranking", Ranking(ranks=(0, 1))),
        ("ranking", Ranking(ranks=(None, None, None))),
        ("rating", Rating(dimension="charm", values=(1, 1, 1))),
        ("rating", Tie()),
    ],
)
def test_answers_that_do_not_fit_the_question_are_refused(
    tmp_path: Path, kind: str, verdict: Choice
) -> None:
    office = Office(f"sqlite:///{tmp_path / 'a.db'}", 1, 3, kind=kind)
    ann = office.hire("ann")
    asked = office.claim(ann)
    if asked.shown == (0, 1) or kind != "pairwise" or verdict.kind == "ranking":
        with pytest.raises(Refused, match="answer_does_not_fit"):
            office.submit(ann, asked, Answer(verdicts=(verdict,), seconds=1))
    assert office.judgements() == []


def test_a_better_answer_beats_the_chosen_one_which_beats_the_other(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    office.submit(ann, asked, choice(1).model_copy(update={"better": "My own."}))
    with Store(office.url) as store:
        pairs = [settled(*row) for row in store.judged_groups("cafe")]
    original, edited = pairs
    assert [(p.winner, p.loser) for p in original.preferences] == [(1, 0)]
    assert edited.group.responses[2] == Response(text="My own.", policy="person:ann")
    assert {(p.winner, p.loser) for p in edited.preferences} == {(2, 1), (2, 0), (1, 0)}
    for _ in range(29):
        office.answer(ann, chosen=0)
    assert office.claim(ann) is None, "nobody is asked about the edited text"


def test_what_was_confirmed_survives_a_power_cut(tmp_path: Path) -> None:
    with Desk(f"sqlite:///{tmp_path / 'a.db'}") as desk, desk.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
