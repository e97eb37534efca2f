"""The labelling service over HTTP: 64 annotators at once over 100,000 questions.

python benchmarks/labelling.py [--database URL] [--groups N] [--people N] [--answers N] [--reading S]
[--large N]: milliseconds that a person waits for the next question and for an answer to be durable,
answers lost and questions given out too often; then how fast and how large the server is over a
million groups, and what its first page weighs. The database has to be empty; default: SQLite.
"""

import argparse
import http.client
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil
from sqlalchemy import create_engine, func, select, text

from palate.records import Group, LabelTask, Response, user_prompt
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, items
from palate.store.schema import AssignmentRow, JudgementRow

PROJECT = 1
OVERLAP = 2
FILES = ("/static/app.css", "/static/app.js", "/static/htmx.min.js", "/static/icon.svg")


def fill(url: str, number: int, people: int) -> list[str]:
    """A project of pairs, and the cookies of its annotators."""
    pair = (Response(text="Yes, oat and soy."), Response(text="We do have oat milk."))
    with Store(url) as store:
        store.add_groups(
            "load",
            (Group(prompt=user_prompt(f"question {i}"), responses=pair) for i in range(number)),
        )
    with Desk(url) as desk, desk.writing() as connection:
        now = desk.clock()
        items.save_task(connection, PROJECT, LabelTask(overlap=OVERLAP))
        cookies: list[str] = []
        for i in range(people):
            person = accounts.add_person(connection, f"p{i}", "x", owner=False, now=now).id
            accounts.join(connection, PROJECT, person, "annotator", now=now)
            secret = accounts.issue(connection, "session", now=now, lifetime=1e5, person=person)
            cookies.append(f"palate={secret}")
    return cookies


def enlarge(url: str, number: int) -> None:
    """So many more groups, by copying the first one inside the database; nobody answers these."""
    count = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
    id = "'copy' || n.i"
    engine = create_engine(url)
    with engine.begin() as connection:
        last = connection.execute(text("SELECT max(position) FROM groups")).scalar_one()
        first = "FROM n, (SELECT * FROM groups WHERE position = 1 AND project_id = 1) g"
        connection.execute(
            text(
                "INSERT INTO groups (project_id, id, prompt_key, position) "
                f"{count} SELECT 1, {id}, g.prompt_key, {last} + n.i {first}"
            )
        )
        connection.execute(
            text(
                'INSERT INTO responses (project_id, group_id, "index", policy, body) '
                f'{count} SELECT 1, {id}, r."index", r.policy, r.body {first} '
                "JOIN responses r ON r.project_id = 1 AND r.group_id = g.id"
            )
        )
    engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running `palate label`, and the seconds until it had sent its first page."""

    host: str
    process: psutil.Process
    start: float


@contextmanager
def served(url: str, root: str, cookie: str) -> Iterator[Server]:
    """The app as a process of its own."""
    begun = time.perf_counter()
    words = ("--port", "0", "--db", url, "--root", root)
    process = subprocess.Popen(
        [sys.executable, "-m", "palate", "label", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        host = urlsplit(process.stdout.readline().split()[-1]).netloc
        Browser(host, cookie).get(f"/projects/{PROJECT}/label")
        start = time.perf_counter() - begun
        yield Server(host=host, process=psutil.Process(process.pid), start=start)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Browser:
    """One connection that is kept, as browsers keep theirs, and one session."""

    def __init__(self, host: str, cookie: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=60)
        self._headers = {"Cookie": cookie}

    def get(self, path: str) -> bytes:
        """The body of a page."""
        self._connection.request("GET", path, headers=self._headers)
        reply = self._connection.getresponse()
        assert reply.status == 200, (path, reply.status)
        return reply.read()

    def post(self, path: str, form: dict[str, str]) -> int:
        """The status of a form."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", path, urlencode(form), self._headers | kind)
        reply = self._connection.getresponse()
        reply.read()
        return reply.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Seconds for the next question and for its answer, and whether that was confirmed."""

    question: float
    answer: float
    confirmed: bool


def work(host: str, cookie: str, number: int, *, reading: float, delay: float) -> list[Wait]:
    """What one person waits for who reads every question for `reading` seconds."""
    time.sleep(delay)
    browser = Browser(host, cookie)
    waits: list[Wait] = []
    for i in range(number):
        begun = time.perf_counter()
        page = browser.get(f"/projects/{PROJECT}/label").decode()
        shown = time.perf_counter()
        action = re.search(r'action="(/projects/\d+/assignments/\w+)"', page)
        csrf = re.search(r'name="csrf" value="(\w+)"', page)
        assert action, "no question is left"
        assert csrf
        time.sleep(reading)
        form = {"csrf": csrf[1], "revision": "0", "choice": f"{i % 2}:2", "action": "answer"}
        sent = time.perf_counter()
        status = browser.post(action[1], form)
        answer = time.perf_counter() - sent
        waits.append(Wait(question=shown - begun, answer=answer, confirmed=status == 303))
    return waits


def percentiles(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"p50 {1000 * statistics.median(seconds):6.1f} ms   p95 {1000 * p95:6.1f} ms"


def seconds_of(process: psutil.Process) -> float:
    """CPU seconds that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def load(url: str, root: str, cookies: list[str], number: int, reading: float) -> None:
    """Let people work, and count what is in the database then."""
    with served(url, root, cookies[0]) as server, ThreadPoolExecutor(len(cookies)) as pool:
        begun, own = time.perf_counter(), time.process_time()
        theirs = seconds_of(server.process)
        futures = [
            pool.submit(work, server.host, cookie, number, reading=reading, delay=delay)
            for i, cookie in enumerate(cookies)
            for delay in (reading * i / len(cookies),)
        ]
        waits = [wait for future in futures for wait in future.result()]
        wall, own = time.perf_counter() - begun, time.process_time() - own
        theirs = seconds_of(server.process) - theirs
    with Desk(url) as desk, desk.reading() as connection:
        stored = connection.scalar(select(func.count()).select_from(JudgementRow)) or 0
        holders = connection.scalars(
            select(func.count(AssignmentRow.id)).group_by(AssignmentRow.item)
        ).all()
    confirmed = sum(wait.confirmed for wait in waits)
    print(f"next question   {percentiles([wait.question for wait in waits])}")
    print(f"submit          {percentiles([wait.answer for wait in waits])}")
    print(f"{len(waits) / wall:.1f} answers/s; refused {len(waits) - confirmed}", end=", ")
    print(f"lost {confirmed - stored}, given to more than {OVERLAP}:", end=" ")
    print(sum(n > OVERLAP for n in holders))
    print(
        f"CPU per question and answer: {1000 * theirs / len(waits):.1f} ms of the server's;",
        end=" ",
    )
    print(f"the load generator took {own / wall:.2f} cores, the server {theirs / wall:.2f}")


def start(url: str, root: str, cookie: str) -> None:
    """How fast the server is there, how large it is, and what its first page weighs."""
    with served(url, root, cookie) as server:
        browser = Browser(server.host, cookie)
        sizes = [len(browser.get(path)) for path in (f"/projects/{PROJECT}/label", *FILES)]
        memory = server.process.memory_info().rss / 2**20
        cpu = seconds_of(server.process)
    print(f"first question {server.start:.2f} s after the start ({cpu:.2f} s of CPU)", end="; ")
    print(f"{memory:.0f} MiB of memory; page with its files {sum(sizes) / 1000:.0f} kB")


def main() -> None:
    """Fill a database, let people work, make it large, start again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="")
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--answers", type=int, default=10)
    parser.add_argument("--reading", type=float, default=5.0)
    parser.add_argument("--large", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'palate.db'}"
        cookies = fill(url, args.groups, args.people)
        print(f"{url.partition(':')[0]}, {platform.machine()}, {os.cpu_count()} cores", end=", ")
        print(f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
        print(f"{args.people} people who read for {args.reading:g} s, {args.groups} groups")
        load(url, folder, cookies, args.answers, args.reading)
        if args.large > args.groups:
            enlarge(url, args.large - args.groups)
            print(f"{args.large} groups", end=": ")
            start(url, folder, cookies[0])


if __name__ == "__main__":
    main()
