"""`palate label` as a process: what it prints, what it loads, and how fast it is there."""

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, text

from palate.records import content_id, user_prompt
from palate.store.connection import open_engine
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, lease
from palate.store.schema import GroupRow, PromptRow, ResponseRow
from tests.web.site import PROJECT, group

SCRIPT = """
import sys
from palate.cli.main import main
sys.argv = ["palate", "label", "--port", "0", *sys.argv[1:]]
try:
    main()
finally:
    assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def started(folder: Path, *words: str) -> tuple[subprocess.Popen[str], list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "--root", str(folder), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, [process.stdout.readline() for _ in range(2)]


def test_label_prints_address_and_token_serves_this_machine_only_and_loads_no_torch(
    tmp_path: Path,
) -> None:
    with Store(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        store.add_groups("cafe", [group(0)])
    process, (address, token) = started(tmp_path, "--project", "cafe")
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/setup\?token=([\w-]{40,})", address)
        assert url
        assert token.startswith(f"first-run token: {url[1]} ")
        page = urllib.request.urlopen(url[0], timeout=30).read().decode()
        assert url[1] in page
    finally:
        process.terminate()
        process.wait()
    with create_engine(f"sqlite:///{tmp_path / 'palate.db'}").connect() as connection:
        stored = connection.scalars(text("SELECT hash FROM tokens")).all()
    assert stored == [accounts.digest(url[1])]


def test_an_unknown_project_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        store.add_groups("cafe", [group(0)])
    command = [sys.executable, "-m", "palate", "label", "--root", str(tmp_path)]
    told = subprocess.run(
        [*command, "--project", "caffe"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert "no project 'caffe'. Remedy: known are: cafe" in " ".join(told.stderr.split())


@pytest.mark.slow  # a database of a hundred thousand groups has to be made first
def test_questions_come_at_the_same_speed_from_a_hundred_thousand_groups(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'palate.db'}"
    many = 100_000
    body = user_prompt("Hi").model_dump(mode="json")
    with Store(url) as store:
        store.add_groups("cafe", [group(0)])
    engine = open_engine(url)
    ids = [content_id(i) for i in range(2, many + 1)]
    with engine.begin() as connection:
        own = {"project_id": PROJECT}
        key = {"key": "k", "prompt_id": "p", "body": body}
        connection.execute(insert(PromptRow), [own | key])
        places = enumerate(ids, 2)
        rows = [own | {"id": id, "prompt_key": "k", "position": p} for p, id in places]
        connection.execute(insert(GroupRow), rows)
        said = [
            own | {"group_id": id, "index": i, "policy": "", "body": {"text": str(i)}}
            for id in ids
            for i in (0, 1)
        ]
        connection.execute(insert(ResponseRow), said)
    engine.dispose()
    with Desk(url) as desk:
        with desk.writing() as connection:
            ann = accounts.add_person(connection, "ann", "x", owner=False, now=0)
            accounts.join(connection, PROJECT, ann.id, "annotator", now=0)
        begun = time.process_time()
        with desk.writing() as connection:
            id = lease.claim(connection, PROJECT, ann.id, now=0)
            assert id is not None
            answers.assignment(connection, PROJECT, ann.id, id)
        assert time.process_time() - begun < 0.5, "0.02 s on an idle laptop"
