"""An answer that the server confirmed survives the server's sudden death, and is there once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from palate.records import LabelTask
from palate.store.database import Store
from palate.store.labelling import Desk, items
from palate.store.schema import AssignmentRow, ItemRow, TaskRow
from tests.web.crowd import Annotator, process, sessions
from tests.web.site import PROJECT, group


def confirmed(crowd: list[Annotator]) -> int:
    return sum(len(one.acknowledged) for one in crowd)


def shift(url: str, folder: Path, crowd: list[Annotator], *, answers: int) -> None:
    """Everybody works until so many more answers are confirmed; then the server is killed."""
    wanted = confirmed(crowd) + answers
    limit = time.monotonic() + 240
    pause = threading.Event()
    with process(url, folder) as (server, address), ThreadPoolExecutor(len(crowd)) as pool:
        work = [pool.submit(one.work, address, pause) for one in crowd]
        while confirmed(crowd) < wanted and time.monotonic() < limit:
            if all(done.done() for done in work):
                break
            time.sleep(0.01)
        server.kill()
        pause.set()
        for done in work:
            done.result()


def check_counters(desk: Desk, overlap: int) -> None:
    """Nobody has an item twice, no item has too many people, and the counters count."""
    with desk.reading() as connection:
        given = connection.execute(select(AssignmentRow)).all()
        found = connection.execute(select(ItemRow)).all()
        answered = connection.scalars(select(TaskRow.answered)).one()
    holders = Counter(row.item for row in given)
    assert max(Counter((row.item, row.person_id) for row in given).values()) == 1
    assert max(holders.values()) <= overlap
    assert all(item.taken == holders[item.position] for item in found)
    assert answered == sum(row.state == "answered" for row in given)


def survive(url: str, folder: Path, *, people: int, answers: int) -> None:
    """Two shifts that end in a kill, and what is in the database then."""
    with Store(url) as store:
        store.add_groups("cafe", [group(i) for i in range(2 * answers)])
    with Desk(url) as desk, desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(overlap=2))
    secrets = sessions(url, people)
    crowd = [Annotator(f"p{i}", secret) for i, secret in enumerate(secrets)]
    for _ in range(2):
        shift(url, folder, crowd, answers=answers)
    with Store(url) as store:
        stored = Counter(judgement.note for judgement in store.judgements("cafe"))
    unconfirmed = {one.sent[1]["note"] for one in crowd if one.sent}
    notes = [note for one in crowd for note in one.acknowledged]
    assert [problem for one in crowd for problem in one.problems] == []
    assert len(notes) >= 2 * answers
    assert all(one.acknowledged for one in crowd)
    assert set(notes) <= set(stored)
    assert set(stored) <= {*notes, *unconfirmed}
    assert max(stored.values()) == 1
    with Desk(url) as desk:
        check_counters(desk, overlap=2)


@pytest.mark.parametrize(
    ("people", "answers"),
    [(8, 30), pytest.param(64, 1500, marks=pytest.mark.slow)],  # 1,500 answers, twice
)
def test_a_kill_in_the_middle_of_a_load_loses_no_confirmed_answer_and_gives_nothing_twice(
    url: str, tmp_path: Path, people: int, answers: int
) -> None:
    survive(url, tmp_path, people=people, answers=answers)
