"""Who judged leaves a project under a pseudonym: the same in all its exports, unknown elsewhere."""

import re
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from palate.config.exchange import Format
from palate.exchange.importing import import_file
from palate.records import Choice, Group, LabelTask, Ranking, Response
from palate.records.labelling import Answer
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, items, lease
from palate.store.pseudonyms import BY_OWNER
from palate.store.rows import read_rows
from tests.exchange.project import by, export, fill, group, rows

ANN, BOB = "Zenobia.Quux", "K\u00fcnga Oxblood"
FORMATS: tuple[Format, ...] = get_args(Format)


@pytest.fixture
def url(url: str) -> str:
    """Two people judged everything, one wrote a better answer, the other a check."""
    fill(url, judges=(f"person:{ANN}", f"person:{BOB}"))
    better = group("single better", "a", "b", "c")
    mine = better.responses[2].model_copy(update={"policy": f"person:{ANN}"})
    better = Group(prompt=better.prompt, responses=(*better.responses[:2], mine))
    check = Group(
        prompt=better.prompt,
        responses=tuple(Response(text=text, policy=f"{BY_OWNER}{BOB}") for text in "de"),
    )
    with Store(url) as store:
        store.add_groups("mine", [better, check])
        said = [
            by(f"person:{ANN}", better, Ranking(ranks=(1, 2, 0))),
            by(f"person:{BOB}", check, Choice(chosen=1)),
        ]
        store.add_judgements("mine", said)
    return url


def judges(data: bytes) -> list[str]:
    """Who judged, in the order of the rows."""
    return [said["judge"] for row in rows(data) for said in row["judgements"]]


@pytest.mark.parametrize("format", FORMATS)
def test_no_export_names_anybody_who_logs_in(url: str, tmp_path: Path, format: Format) -> None:
    out = tmp_path / "out" / "rows.jsonl"
    out.parent.mkdir()
    first = export(url, out, format)
    written = {path.name: path.read_text() for path in out.parent.iterdir()}
    assert written.keys() == {"rows.jsonl", "rows.manifest.json", "rows.card.md"}
    text = "".join(written.values())
    for word in chain(re.split(r"\W", ANN), re.split(r"\W", BOB), [r"K\u00fcnga"]):
        assert word not in text
    assert len(rows(first)) > 0
    assert export(url, out, format) == first
    assert {path.name: path.read_text() for path in out.parent.iterdir()} == written


def test_names_leave_when_they_are_asked_for(url: str, tmp_path: Path) -> None:
    data = export(url, tmp_path / "rows.jsonl", "judgements", names="logins")
    assert set(judges(data)) == {f"person:{ANN}", f"person:{BOB}"}
    groups = rows(export(url, tmp_path / "groups.jsonl", "groups", names="logins"))
    authors = {response["policy"] for row in groups for response in row["responses"]}
    assert authors >= {f"person:{ANN}", f"{BY_OWNER}{BOB}"}
    assert f"| person:{ANN} | person | 10 |" in (tmp_path / "rows.card.md").read_text()


def test_a_pseudonym_stands_for_one_person_wherever_they_appear(url: str, tmp_path: Path) -> None:
    named = judges(export(url, tmp_path / "a.jsonl", "judgements", names="logins"))
    hidden = judges(export(url, tmp_path / "b.jsonl", "judgements"))
    of = dict(zip(named, hidden, strict=True))
    assert [of[name] for name in named] == hidden
    assert len(set(hidden)) == 2
    ann, bob = of[f"person:{ANN}"], of[f"person:{BOB}"]
    assert all(re.fullmatch("person:~[0-9a-f]{12}", name) for name in (ann, bob))
    groups = rows(export(url, tmp_path / "groups.jsonl", "groups"))
    authors = {response["policy"] for row in groups for response in row["responses"]}
    assert {ann, bob.replace("person:", BY_OWNER)} <= authors
    card = (tmp_path / "b.card.md").read_text()
    assert f"| {ann} | person | 10 |" in card
    assert "- names: pseudonyms" in card
    listed = re.findall("person:~[0-9a-f]+", card)
    assert listed == sorted({ann, bob})


def test_a_pseudonym_tells_nothing_in_another_project_or_database(url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    fill(other, judges=(f"person:{ANN}", f"person:{BOB}"))
    with Store(url) as store:
        pair = group("elsewhere", "a", "b")
        store.add_groups("second", [pair])
        store.add_judgements("second", [by(f"person:{ANN}", pair, Choice(chosen=0))])
    out = tmp_path / "rows.jsonl"
    exports = [
        export(url, out, "judgements"),
        export(url, out, "judgements", project="second"),
        export(other, out, "judgements"),
    ]
    seen = [set(judges(data)) for data in exports]
    assert [len(names) for names in seen] == [2, 1, 2]
    assert len(set.union(*seen)) == 5


def test_judges_are_chosen_and_weighed_by_their_names_and_leave_without(
    url: str, tmp_path: Path
) -> None:
    alone = judges(export(url, tmp_path / "a.jsonl", "judgements", judges=[f"person:{ANN}"]))
    assert len(alone) == 10
    assert len(set(alone)) == 1
    for weights in ("equal", "reliability"):
        hidden, named = (
            rows(export(url, tmp_path / "x.jsonl", "graded", names=names, weights=weights))
            for names in ("pseudonyms", "logins")
        )
        assert hidden == named


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_export_under_pseudonyms_is_imported_and_leaves_as_the_same_bytes(
    url: str, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"rows.{suffix}"
    first = export(url, out, "judgements")
    source = str(out)
    for _ in range(2):
        import_file(
            source, project="copy", url=url, kind="preferences", console=Console(quiet=True)
        )
    with Store(url) as store:
        assert store.counts("copy").judgements == store.counts("mine").judgements
    assert export(url, tmp_path / f"again.{suffix}", "judgements", project="copy") == first
    text = str([row for _, row in read_rows(source)])
    assert ANN not in text
    assert "person:~" in text


def test_what_people_answer_in_the_app_leaves_without_their_logins(
    url: str, tmp_path: Path
) -> None:
    with Store(url) as store:
        store.add_groups("asked", [group("asked", "first", "second")])
    with Desk(url) as desk, desk.writing() as connection:
        project = accounts.project_named(connection, "asked")
        items.save_task(connection, project, LabelTask(overlap=1))
        made = accounts.add_person(connection, BOB, "no hash", owner=False, now=0)
        accounts.join(connection, project, made.id, "annotator", now=0)
        asked = lease.claim(connection, project, made.id, now=1)
        assert asked
        answer = Answer(verdicts=(Choice(chosen=0),), seconds=1, better="third")
        answers.submit(connection, project, made.id, asked, answer, revision=0, now=2)
    data = export(url, tmp_path / "rows.jsonl", "judgements", project="asked")
    first, second = rows(data)
    (author,) = {said["judge"] for row in (first, second) for said in row["judgements"]}
    assert author.startswith("person:~")
    assert second["group"]["responses"][2]["policy"] == author
    assert BOB not in data.decode()
