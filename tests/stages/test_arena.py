"""Two real policies answer in an arena what a person asks in the app."""

import io
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from palate.config.common import SamplingConfig
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import save_policy
from palate.records import LabelTask, Response, Sampling
from palate.stages import arena
from palate.store.database import Store
from palate.store.errors import DataError
from palate.store.labelling import items, live
from tests.web.site import PROJECT, Site, csrf, group, site

SAMPLING = SamplingConfig(max_tokens=8, temperature=0.9)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The folders of two policies of a run."""
    run = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer(
        ["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate"
    )
    size = ArchitectureConfig(hidden_size=32, layers=2, heads=4, intermediate_size=64, context=64)
    folders = [run / "02-sft" / "model", run / "06-ppo" / "model"]
    for number, folder in enumerate(folders):
        network = build_causal_lm(size, tokenizer, seed=number)
        save_policy(network, tokenizer, folder, prompt_format="chat")
    return [str(folder) for folder in folders]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, [], compare="policies") as made:
        yield made


def ask(made: Site, client, prompt: str) -> str:
    """Put a prompt, and give the page of what became of it, once it was dealt with."""
    page = client.get("/projects/1/live").text
    sent = client.post("/projects/1/live", data={"csrf": csrf(page), "prompt": prompt})
    assert sent.status_code == 303, sent.text
    where = sent.headers["location"]
    limit = time.monotonic() + 60
    while "are writing" in (page := client.get(where).text):
        assert time.monotonic() < limit, page
        time.sleep(0.02)
    return page


@contextmanager
def answering(made: Site, models: list[str]) -> Iterator[None]:
    """`palate arena` in a thread, until the prompts of the test have been answered."""
    done = threading.Event()
    words = {"project": "cafe", "url": made.url, "sampling": SAMPLING, "stopped": done.is_set}
    console = Console(quiet=True)
    thread = threading.Thread(target=arena.run, args=(models,), kwargs=words | {"console": console})
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_two_policies_answer_what_a_person_asks(made: Site, models: list[str]) -> None:
    client = made.client(made.person("ann"))
    with answering(made, models):
        page = ask(made, client, "Oat milk?")
        assert "sft" not in page
        assert "ppo" not in page
        action = re.search(r'action="(/projects/1/assignments/\w+)"', page)
        form = {"csrf": csrf(page), "revision": "0", "choice": "0:2", "action": "answer"}
        after = client.post(action[1], data=form)
        named = client.get(after.headers["location"]).text
        assert set(re.findall(r"<b>[AB]</b> (\w+)", named)) == {"sft", "ppo"}
        long = ask(made, client, "latte " * 100)
        assert "longer than these policies can read" in long
        assert "latte latte" in long
        again = ask(made, client, "Oat milk?")
        assert 'name="choice"' in again
    (judgement,) = made.judgements()
    with Store(made.url) as store:
        groups = list(store.groups("cafe"))
    assert [{r.policy for r in one.responses} for one in groups] == [{"sft", "ppo"}] * 2
    assert judgement.group_id == groups[0].id
    for response in (r for one in groups for r in one.responses):
        assert response.sampling == Sampling(temperature=0.9, top_p=1.0, max_tokens=8)
        assert 0 < len(response.token_ids) <= 8
    assert groups[0].id != groups[1].id


def test_a_new_project_becomes_an_arena_and_another_kind_of_project_is_left_alone(
    made: Site, models: list[str]
) -> None:
    words = {"url": made.url, "sampling": SAMPLING, "console": Console(quiet=True)}
    with pytest.raises(FileNotFoundError, match="no folder"):
        arena.run([models[0], str(made.root / "nope")], project="typo", **words)
    arena.run(models, project="new", stopped=lambda: True, **words)
    with Store(made.url) as store:
        store.add_groups("run", [group(0)])
    with made.desk.writing() as connection:
        assert items.task_of(connection, 2).compare == "policies"
        items.save_task(connection, PROJECT, LabelTask())
    for project in ("cafe", "run"):
        with pytest.raises(DataError, match="compares responses, not policies"):
            arena.run(models, project=project, stopped=lambda: True, **words)
    with made.desk.reading() as connection:
        assert not items.has_task(connection, 3)


def test_an_arena_needs_two_policies_with_two_names() -> None:
    with pytest.raises(ValueError, match="two different policies or more"):
        arena.policy_names(["runs/cafe/06-ppo/model"])
    with pytest.raises(ValueError, match="two different policies or more"):
        arena.policy_names(["runs/cafe/06-ppo/model"] * 2)
    with pytest.raises(ValueError, match="have one name"):
        arena.policy_names(["x/a/06-ppo/model", "y/a/06-ppo/model"])


def test_a_database_that_is_locked_for_a_while_is_tried_again(
    made: Site, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arena, "_AGAIN", 0.05)
    said = io.StringIO()
    lock = sqlite3.connect(made.root / "palate.db", isolation_level=None)
    ticks = iter(range(1000))

    def stopped() -> bool:
        if next(ticks) == 0:
            lock.execute("BEGIN EXCLUSIVE")
            return False
        if lock.in_transaction and "the database fails" in said.getvalue():
            lock.execute("ROLLBACK")
        return "the database is back" in said.getvalue()

    client = made.client(made.person("ann"))
    page = client.get("/projects/1/live").text
    client.post("/projects/1/live", data={"csrf": csrf(page), "prompt": "Oat milk?"})
    console = Console(file=said, width=200)
    words = {"url": made.url, "sampling": SAMPLING, "console": console}
    arena.run(models, project="cafe", stopped=stopped, **words)
    assert said.getvalue().count("the database fails, trying on: database is locked") == 1
    with Store(made.url) as store:
        assert len(list(store.groups("cafe"))) == 1


def test_a_prompt_is_free_again_when_its_answer_was_interrupted(
    made: Site, models: list[str]
) -> None:
    client = made.client(made.person("ann"))
    page = client.get("/projects/1/live").text
    client.post("/projects/1/live", data={"csrf": csrf(page), "prompt": "Oat milk?"})
    policies = {name: arena.open_chat(source) for name, source in zip("ab", models, strict=True)}
    host = arena.Host(policies=policies, sampling=SAMPLING)
    quiet = Console(quiet=True)

    def interrupted(asked: live.LivePrompt) -> list[Response]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arena.serve_next(made.desk, PROJECT, interrupted, quiet)
    assert arena.serve_next(made.desk, PROJECT, host.respond, quiet)
    assert not arena.serve_next(made.desk, PROJECT, host.respond, quiet)
