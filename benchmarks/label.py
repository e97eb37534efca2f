"""The labelling service under load: 64 annotators at once over 100,000 questions in SQLite.

python benchmarks/label.py [--groups N] [--people N] [--answers N]: milliseconds that a person waits
for the next question and for an answer to be durable, and questions lost or given out too often.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import func, select

from palate.records import Answer, Choice, Group, LabelTask, Response, user_prompt
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, items, lease
from palate.store.schema import AssignmentRow

PROJECT = 1
READING = 1.0
"""Seconds that a person reads before they answer: far fewer than people need."""


def fill(url: str, number: int) -> None:
    """A project of pairs."""
    pair = (Response(text="Yes, oat and soy."), Response(text="We do have oat milk."))
    with Store(url) as store:
        store.add_groups(
            "load",
            (Group(prompt=user_prompt(f"question {i}"), responses=pair) for i in range(number)),
        )


def work(desk: Desk, person: int, number: int) -> list[tuple[float, float]]:
    """(seconds for the next question, seconds to submit) of one person's answers."""
    times: list[tuple[float, float]] = []
    time.sleep(READING * (person % 64) / 64)  # people do not all begin in the same millisecond
    for i in range(number):
        begun = time.perf_counter()
        with desk.writing() as connection:
            id = lease.claim(connection, PROJECT, person, now=desk.clock())
            assert id is not None
            asked = answers.assignment(connection, PROJECT, person, id)
        shown = time.perf_counter()
        said = Answer(verdicts=(Choice(chosen=asked.order[i % 2]),), seconds=5)
        with desk.writing() as connection:
            answers.submit(connection, PROJECT, person, id, said, revision=0, now=desk.clock())
        times.append((shown - begun, time.perf_counter() - shown))
        time.sleep(READING)
    return times


def percentiles(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"p50 {1000 * statistics.median(seconds):6.1f} ms   p95 {1000 * p95:6.1f} ms"


def main() -> None:
    """Fill a database, let people work, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--answers", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'palate.db'}"
        fill(url, args.groups)
        with Desk(url) as desk:
            with desk.writing() as connection:
                items.save_task(connection, PROJECT, LabelTask(overlap=2))
                people = [
                    accounts.add_person(connection, f"p{i}", "x", owner=False, now=0).id
                    for i in range(args.people)
                ]
                for person in people:
                    accounts.join(connection, PROJECT, person, "annotator", now=0)
            cpu = time.process_time()
            with ThreadPoolExecutor(args.people) as pool:
                done = pool.map(lambda person: work(desk, person, args.answers), people)
                times = [pair for times in done for pair in times]
            cpu = time.process_time() - cpu
            with desk.reading() as connection:
                given = connection.scalars(
                    select(func.count()).select_from(AssignmentRow).group_by(AssignmentRow.item)
                ).all()
    print(f"{args.people} people, {args.groups} groups, SQLite, every answer durable")
    print(f"next question   {percentiles([first for first, _ in times])}")
    print(f"submit          {percentiles([second for _, second in times])}")
    print(f"CPU per question and answer {1000 * cpu / len(times):.1f} ms")
    print(f"lost {len(times) - sum(given)}, given to more than two {sum(n > 2 for n in given)}")


if __name__ == "__main__":
    main()
