"""Questions are leased once, answered once, undone by events, checked and decided; on both
databases."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select, text

import palate.store
from palate.feedback.aggregate import settled
from palate.records import (
    Answer,
    Choice,
    Group,
    LabelTask,
    Ranking,
    Rating,
    Response,
    Skip,
    Tie,
    user_prompt,
)
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, items, lease, review
from palate.store.labelling.errors import Refused
from palate.store.schema import AssignmentRow

PROJECT = 1


def group(i: int, k: int = 2) -> Group:
    responses = tuple(Response(text=f"answer {i}.{j}", policy="sft") for j in range(k))
    return Group(prompt=user_prompt(f"question {i}"), responses=responses)


class Office:
    """A desk with a clock that only moves when it is told to, and people who work at it."""

    def __init__(self, url: str, groups: int, k: int = 2, **task: object) -> None:
        with Store(url) as store:
            store.add_groups("cafe", [group(i, k) for i in range(groups)])
        self.url = url
        self.now = 1000.0
        self.desk = Desk(url, clock=lambda: self.now)
        with self.desk.writing() as connection:
            items.save_task(connection, PROJECT, LabelTask.model_validate(task))

    def hire(self, name: str, role: accounts.Role = "annotator") -> int:
        with self.desk.writing() as connection:
            person = accounts.add_person(connection, name, "hash", owner=False, now=self.now)
            accounts.join(connection, PROJECT, person.id, role, now=self.now)
        return person.id

    def claim(self, person: int) -> answers.Assignment | None:
        with self.desk.writing() as connection:
            id = lease.claim(connection, PROJECT, person, now=self.now)
            return id and answers.assignment(connection, PROJECT, person, id)

    def submit(self, person: int, asked: answers.Assignment, answer: Answer):
        with self.desk.writing() as connection:
            return answers.submit(
                connection,
                PROJECT,
                person,
                asked.id,
                answer,
                revision=asked.revision,
                now=self.now,
            )

    def answer(self, person: int, chosen: int = 0) -> answers.Assignment:
        asked = self.claim(person)
        assert asked is not None
        self.submit(person, asked, choice(chosen))
        return asked

    def undo(self, person: int) -> str:
        with self.desk.writing() as connection:
            return answers.undo(connection, PROJECT, person, now=self.now)

    def progress(self, person: int) -> review.Progress:
        with self.desk.reading() as connection:
            return review.progress(connection, PROJECT, person)

    def member(self, name: str) -> accounts.Member:
        with self.desk.reading() as connection:
            (found,) = [m for m in accounts.members(connection, PROJECT) if m.name == name]
        return found

    def judgements(self):
        with Store(self.url) as store:
            return list(store.judgements("cafe"))


def choice(chosen: int, seconds: float = 5.0) -> Answer:
    return Answer(verdicts=(Choice(chosen=chosen, strength=2),), seconds=seconds)


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    office = Office(url, groups=30)
    yield office
    office.desk.close()


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


def test_a_reload_shows_the_same_question_and_an_answer_the_next(office: Office) -> None:
    ann = office.hire("ann")
    first = office.claim(ann)
    assert office.claim(ann) == first
    office.submit(ann, first, choice(0))
    assert office.claim(ann).item == first.item + 1


def test_sending_an_answer_twice_counts_once(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    for chosen in (0, 1, 0):
        office.submit(ann, asked, choice(chosen))
    assert [j.verdict.chosen for j in office.judgements()] == [0]
    assert office.progress(ann).mine == office.progress(ann).answered == 1


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


def test_a_draft_survives_and_ends_with_the_answer(office: Office) -> None:
    ann = office.hire("ann")
    asked = office.claim(ann)
    with office.desk.writing() as connection:
        answers.save_draft(connection, PROJECT, ann, asked.id, {"note": "half a th"}, revision=0)
    assert office.claim(ann).draft == {"note": "half a th"}
    office.submit(ann, asked, choice(0))
    office.undo(ann)
    assert office.claim(ann).draft == {}


def test_nobody_reaches_the_assignment_of_somebody_else(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    asked = office.claim(ann)
    with pytest.raises(Refused, match="no_assignment"):
        office.submit(bob, asked, choice(0))
    with pytest.raises(Refused, match="no_member"):
        office.claim(99)


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


def test_the_kind_of_task_is_fixed_once_somebody_was_asked(office: Office) -> None:
    with office.desk.writing() as connection:
        items.enqueue(connection, PROJECT)
        items.save_task(connection, PROJECT, LabelTask(kind="ranking"))
    ann = office.hire("ann")
    assert office.claim(ann).task.kind == "ranking"
    with office.desk.writing() as connection, pytest.raises(Refused, match="kind_is_fixed"):
        items.save_task(connection, PROJECT, LabelTask(kind="pairwise"))
    with office.desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(kind="ranking", overlap=3))
    assert office.claim(office.hire("bob")).item == 1


def gold(office: Office, number: int) -> None:
    """Checks whose right answer is response 1."""
    owner = office.hire("olga", "owner")
    with office.desk.writing() as connection:
        for i in range(number):
            check = Group(
                prompt=user_prompt(f"check {i}"),
                responses=(Response(text="bad"), Response(text="good", policy="check:olga")),
            )
            review.add_attention(connection, PROJECT, owner, check, choice(1), now=office.now)


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
        review.change_state(connection, PROJECT, ann, "active", by=1, now=office.now)
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


def test_a_database_of_the_first_revision_opens_keeps_its_data_and_can_be_labelled(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    config = Config()
    folder = Path(palate.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO projects VALUES (1, 'cafe', '2026-01-01')"))
        connection.execute(
            text(
                "INSERT INTO prompts VALUES (1, 'k', 'p', "
                '\'{"messages": [{"role": "user", "content": "Hi"}]}\')'
            )
        )
        connection.execute(text("INSERT INTO groups VALUES (1, 'g', 'k', 1)"))
        for index, word in enumerate(("yes", "no")):
            body = f'{{"text": "{word}"}}'
            insert = text("INSERT INTO responses VALUES (1, 'g', :index, '', :body)")
            connection.execute(insert, {"index": index, "body": body})
        connection.execute(
            text(
                "INSERT INTO judgements VALUES (1, 'j', 1, 'g', 'ann', 'choice', NULL, 'j', "
                "'2026-01-01', "
                '\'{"group_id": "g", "judge": "ann", '
                '"verdict": {"kind": "choice", "chosen": 1, "strength": 1}}\')'
            )
        )
    engine.dispose()
    with Store(url) as store:
        (judgement,) = store.judgements("cafe")
        assert (judgement.verdict, judgement.reasons) == (Choice(chosen=1), ())
    with Desk(url) as desk, desk.writing() as connection:
        ann = accounts.add_person(connection, "ann", "hash", owner=True, now=0)
        accounts.join(connection, PROJECT, ann.id, "owner", now=0)
        asked = answers.assignment(
            connection, PROJECT, ann.id, lease.claim(connection, PROJECT, ann.id, now=0)
        )
    assert [r.text for r in asked.group.responses] == ["yes", "no"]


def test_what_was_confirmed_survives_a_power_cut(tmp_path: Path) -> None:
    with Desk(f"sqlite:///{tmp_path / 'a.db'}") as desk, desk.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_secrets_are_stored_as_hashes(office: Office, tmp_path: Path) -> None:
    with office.desk.writing() as connection:
        secret = accounts.issue(connection, "session", now=0, lifetime=10, person=None)
        assert accounts.token(connection, "session", secret, now=5) is not None
        assert accounts.token(connection, "session", secret, now=11) is None
        assert accounts.token(connection, "invitation", secret, now=5) is None
        stored = connection.execute(text("SELECT hash FROM tokens")).scalars().all()
    assert secret not in stored
    if office.url.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "palate.db") as connection:
            assert secret not in "\n".join(connection.iterdump())


def test_judgements_without_reasons_keep_the_ids_that_they_had_before() -> None:
    plain = {"group_id": "g", "judge": "ann", "verdict": {"kind": "tie", "both_bad": False}}
    from palate.records import Judgement, content_id

    old = plain | {"order": [], "seconds": None, "seed": None, "supersedes": None}
    assert Judgement.model_validate(plain).id == content_id(old)
    with_note = Judgement.model_validate(plain | {"note": "x"})
    assert with_note.id != content_id(old)
