"""The database keeps records exactly, adds nothing twice and is shared by several processes.

Every test runs on SQLite and on PostgreSQL.
"""

import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError

from palate.records import (
    Choice,
    Group,
    Judgement,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Sampling,
    Scores,
    Skip,
    Tie,
    user_prompt,
)
from palate.store import queries
from palate.store.connection import open_engine
from palate.store.database import Counts, Store
from palate.store.errors import DataError
from tests.store.office import group


def choice(group: Group, judge: str = "ann", chosen: int = 0) -> Judgement:
    return Judgement(group_id=group.id, judge=judge, verdict=Choice(chosen=chosen))


STRANGE = Group(
    prompt=Prompt(
        messages=(
            Message(role="system", content=""),
            Message(
                role="user",
                content="Gr\u00fc\u00dfe \U0001f600 \u2028 \x00 \ud83d '); DROP TABLE x;--",
            ),
        ),
        reference="9.00",
        tag="\u00e4\x00",
    ),
    responses=(
        Response(
            text="\ufeff\r\n\x00\x1b",
            token_ids=(0, 2**31, 5),
            finish="length",
            policy="sft",
            sampling=Sampling(temperature=0.1 + 0.2, top_p=1 / 3, max_tokens=7),
        ),
        Response(text=""),
    ),
)


def test_groups_come_back_exactly_and_in_the_order_in_which_they_were_added(url):
    groups = [group(i, k=1 + i % 4) for i in reversed(range(900))]
    groups.insert(500, STRANGE)
    groups.append(Group(prompt=Prompt(token_ids=(3, 1, 2)), responses=(Response(text="x"),)))
    with Store(url) as store:
        assert store.add_groups("cafe", iter(groups)) == 902
        assert list(store.groups("cafe")) == groups
    with Store(url) as store:
        assert list(store.groups("cafe")) == groups


def test_prompts_that_differ_only_in_tag_or_reference_stay_apart(url):
    texts = ("a", "b")
    groups = [
        Group(prompt=user_prompt("Hi", tag=tag, reference=tag), responses=(Response(text=tag),))
        for tag in texts
    ]
    with Store(url) as store:
        store.add_groups("cafe", groups)
        assert list(store.groups("cafe")) == groups
        assert store.counts("cafe").prompts == 1


def test_adding_the_same_content_again_adds_nothing(url):
    groups = [group(i) for i in range(450)]
    judgements = [choice(g) for g in groups]
    with Store(url) as store:
        assert store.add_groups("cafe", [*groups[:30], *groups[:30]]) == 30
        assert store.add_groups("cafe", groups) == 420
        assert store.add_judgements("cafe", judgements[:7]) == 7
        assert store.add_judgements("cafe", judgements + judgements) == 443
        assert store.add_groups("cafe", groups) == store.add_judgements("cafe", judgements) == 0
        assert list(store.groups("cafe")) == groups
        assert list(store.judgements("cafe")) == judgements
        assert store.counts("cafe") == Counts(
            prompts=450, groups=450, responses=900, judgements=450
        )


def test_every_kind_of_judgement_comes_back_exactly(url):
    about = group(0, k=3)
    verdicts = [
        Choice(chosen=2, strength=4),
        Tie(both_bad=True),
        Ranking(ranks=(1, None, 0)),
        Rating(dimension="helpful", values=(1, 5, 3)),
        Scores(values=(0.1 + 0.2, -1e-300, 1e30)),
        Skip(reason="unlesbar \x00 \U0001f600"),
    ]
    judgements = [
        Judgement(
            group_id=about.id,
            judge="ann",
            verdict=verdict,
            order=(2, 0, 1),
            seconds=1 / 3,
            seed=2**64 - 1,
        )
        for verdict in verdicts
    ]
    with Store(url) as store:
        store.add_groups("cafe", [about])
        assert store.add_judgements("cafe", judgements) == len(verdicts)
        assert list(store.judgements("cafe")) == judgements
        assert list(store.judged_groups("cafe")) == [(about, tuple(judgements))]


def test_a_superseded_judgement_is_kept_but_no_longer_counts(url):
    about, other = group(0), group(1)
    first = choice(about)
    second = choice(about, chosen=1).model_copy(update={"supersedes": first.id})
    third = Judgement(
        group_id=about.id, judge="ann", verdict=Skip(reason="unsure"), supersedes=second.id
    )
    untouched = choice(about, judge="bob")
    with Store(url) as store:
        store.add_groups("cafe", [about, other])
        store.add_judgements("cafe", [first, untouched, second])
        assert list(store.judgements("cafe")) == [untouched, second]
        store.add_judgements("cafe", [third])
        assert list(store.judgements("cafe")) == [untouched, third]
        assert list(store.judged_groups("cafe")) == [(about, (untouched, third))]
        assert store.counts("cafe").judgements == 2
        assert store.add_judgements("cafe", [first]) == 0
    with create_engine(url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM judgements")).scalar() == 4


def test_a_client_that_sends_twice_is_counted_once(url):
    about = group(0)
    with Store(url) as store:
        store.add_groups("cafe", [about])
        engine = create_engine(url)
        for chosen, key, new in ((0, "1", 1), (1, "1", 0), (0, "2", 0), (1, "2", 1)):
            said = choice(about, chosen=chosen)
            with engine.begin() as connection:
                keys = {said.id: key}
                assert new == queries.insert_judgements(
                    connection, "cafe", [said], client_keys=keys
                )
        engine.dispose()
        assert [j.verdict.chosen for j in store.judgements("cafe")] == [0, 1]


def test_projects_are_apart(url):
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
        store.add_groups("bar", [group(0), group(1)])
        store.add_judgements("bar", [choice(group(0))])
        assert store.counts("cafe").judgements == 0
        assert list(store.groups("cafe")) == [group(0)]
        with pytest.raises(DataError, match="the project holds no group"):
            store.add_judgements("cafe", [choice(group(1))])


def test_what_is_not_there_is_an_error_that_names_what_is(url):
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
        with pytest.raises(DataError, match=r"no project 'caffe'. Remedy: known are: cafe"):
            list(store.groups("caffe"))
        with pytest.raises(DataError, match="the project holds no group"):
            store.add_judgements("new", [choice(group(0))])
        with pytest.raises(DataError, match="no project 'new'"):
            store.counts("new")
        correction = choice(group(0)).model_copy(update={"supersedes": "0" * 16})
        with pytest.raises(DataError, match="holds no judgement 0000000000000000"):
            store.add_judgements("cafe", [correction])


def test_a_failing_source_of_groups_leaves_whole_chunks_and_can_be_repeated(url):
    groups = [group(i) for i in range(1000)]

    def interrupted() -> Iterator[Group]:
        yield from groups[:900]
        raise KeyboardInterrupt

    with Store(url) as store:
        with pytest.raises(KeyboardInterrupt):
            store.add_groups("cafe", interrupted())
        assert list(store.groups("cafe")) == groups[:800]
        assert store.add_groups("cafe", groups) == 200
        assert list(store.groups("cafe")) == groups


def test_readers_see_what_was_there_when_they_began_and_may_write_meanwhile(url):
    with Store(url) as store:
        store.add_groups("cafe", [group(i) for i in range(900)])
        seen = 0
        for read in store.groups("cafe"):
            seen += 1
            if seen % 300 == 0:
                store.add_groups("cafe", [group(1000 + seen)])
                store.add_judgements("cafe", [choice(read)])
        assert seen == 900
        assert store.counts("cafe").groups == 903


WRITER = """
import sys
from palate.records import *
from palate.store.database import Store
url, name = sys.argv[1:]
groups = [Group(prompt=user_prompt(f"question {i}"), responses=(Response(text="a"),) * 2)
          for i in range(25)]
with Store(url) as store:
    new = sum(store.add_groups("cafe", [group]) for group in groups)
    judgements = [Judgement(group_id=g.id, judge=name, verdict=Choice(chosen=0)) for g in groups]
    own = sum(store.add_judgements("cafe", [judgement]) for judgement in judgements)
print(new, own)
"""


@pytest.mark.slow
def test_processes_that_open_and_write_one_new_database_at_once_lose_and_double_nothing(url):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, f"judge {i}"], stdout=subprocess.PIPE, text=True
        )
        for i in range(4)
    ]
    counted = [tuple(map(int, writer.communicate()[0].split())) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert sum(new for new, _ in counted) == 25
    assert [own for _, own in counted] == [25] * 4
    with Store(url) as store:
        assert store.counts("cafe") == Counts(prompts=25, groups=25, responses=50, judgements=100)
        assert [g.prompt.text for g in store.groups("cafe")] == [f"question {i}" for i in range(25)]
        assert all(len(about) == 4 for _, about in store.judged_groups("cafe"))


def test_a_judgement_of_no_group_is_refused_by_the_database_itself(url):
    engine = open_engine(url)
    values = "1, 'j', 1, 'g', 'ann', 'tie', NULL, 'k', '2026-01-01', '{}'"
    with engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(text(f"INSERT INTO judgements VALUES ({values})"))
    engine.dispose()


def test_sqlite_runs_with_its_safe_and_concurrent_settings(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'palate.db'}")
    with engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    engine.dispose()
    assert pragma == {
        "journal_mode": "wal",
        "busy_timeout": 5000,
        "foreign_keys": 1,
        "synchronous": 1,
    }


def test_a_database_that_cannot_be_opened_says_why_and_hides_the_password(tmp_path):
    (tmp_path / "text.db").write_text(
        "this is no database, but it is long enough to be read as one"
    )
    with pytest.raises(DataError, match=r"file is not a database\). Remedy: check that it exists"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")
    with pytest.raises(DataError, match="unable to open database file"):
        Store(f"sqlite:///{tmp_path / 'nowhere' / 'palate.db'}")
    with pytest.raises(DataError, match="not a database that can be opened"):
        Store("palate.db")


@pytest.mark.slow
def test_reading_judged_groups_takes_steps_in_proportion_to_their_number(tmp_path):
    def steps(number: int) -> int:
        groups = [group(i) for i in range(number)]
        with Store(f"sqlite:///{tmp_path / f'{number}.db'}") as store:
            store.add_groups("cafe", groups)
            store.add_judgements("cafe", map(choice, groups))
            counter = itertools.count()

            def count(connection: sqlite3.Connection, *_: object) -> None:
                connection.set_progress_handler(lambda: next(counter) < 0, 100)

            event.listen(Engine, "connect", count)
            with Store(f"sqlite:///{tmp_path / f'{number}.db'}") as reader:
                assert sum(1 for _ in reader.judged_groups("cafe")) == number
            event.remove(Engine, "connect", count)
        return next(counter)

    assert steps(3200) < 5 * steps(800)


@pytest.mark.slow
def test_a_killed_writer_leaves_a_database_that_opens_and_holds_whole_groups(tmp_path):
    url = f"sqlite:///{tmp_path / 'palate.db'}"
    code = """
import itertools, sys
from palate.records import *
from palate.store.database import Store
with Store(sys.argv[1]) as store:
    for i in itertools.count():
        responses = tuple(Response(text=f"{i}.{j}") for j in range(3))
        store.add_groups("cafe", [Group(prompt=user_prompt(str(i)), responses=responses)])
        print(i, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    confirmed = -1
    while confirmed < 20:
        confirmed = int(writer.stdout.readline())
    writer.kill()
    confirmed = max([confirmed, *map(int, writer.communicate()[0].split())])
    with Store(url) as store:
        groups = list(store.groups("cafe"))
    assert len(groups) in (confirmed + 1, confirmed + 2)
    assert all(g.k == 3 for g in groups)
    with sqlite3.connect(tmp_path / "palate.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
