"""Preferences from the database: what people said in a project, and what all judges said."""

from pathlib import Path

import pytest

from palate.config.load import database_url
from palate.config.stages import RewardConfig
from palate.records import Choice, Group, Judgement, Response, user_prompt
from palate.stages import sources
from palate.stages.pipeline import input_hashes
from palate.store.database import Store
from palate.store.errors import DataError


def group(i: int) -> Group:
    responses = (Response(text=f"a{i}"), Response(text=f"b{i}"))
    return Group(prompt=user_prompt(f"q{i}"), responses=responses)


@pytest.fixture
def url(url: str) -> str:
    said = [
        Judgement(group_id=group(0).id, judge="person:ann", verdict=Choice(chosen=1, strength=3)),
        Judgement(group_id=group(0).id, judge="annotator:cafe", verdict=Choice(chosen=0)),
        Judgement(group_id=group(1).id, judge="annotator:cafe", verdict=Choice(chosen=0)),
    ]
    with Store(url) as store:
        store.add_groups("mine", [group(0), group(1)])
        store.add_judgements("mine", said)
    return url


def test_a_project_gives_what_all_judges_said(url: str) -> None:
    first, second = sources.judged(url, "project:mine")
    assert first.preferences[0].probability == 0.5
    assert (second.preferences[0].winner, second.preferences[0].probability) == (0, 1.0)


def test_people_of_a_project_are_heard_alone(url: str) -> None:
    (row,) = sources.judged(url, "project:mine/people")
    assert row.group == group(0)
    (preference,) = row.preferences
    assert (preference.winner, preference.probability, preference.margin) == (1, 1.0, 2.0)


def test_other_judges_and_projects_are_refused(url: str) -> None:
    with pytest.raises(DataError, match="use project:mine or project:mine/people"):
        list(sources.judged(url, "project:mine/robots"))
    with pytest.raises(DataError, match="no project 'yours'"):
        list(sources.judged(url, "project:yours"))


def test_a_stage_runs_again_when_somebody_has_judged_something_new(url: str) -> None:
    config = RewardConfig(data="project:mine")
    before = input_hashes(config, {}, url)
    assert before.keys() >= {"project:mine"}
    assert input_hashes(config, {}, url) == before
    with Store(url) as store:
        new = Judgement(group_id=group(1).id, judge="person:bob", verdict=Choice(chosen=1))
        store.add_judgements("mine", [new])
    assert input_hashes(config, {}, url) != before


def test_stages_read_the_database_that_the_environment_names(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PALATE_DATABASE", raising=False)
    assert database_url(tmp_path) == f"sqlite:///{tmp_path / 'palate.db'}"
    monkeypatch.setenv("PALATE_DATABASE", url)
    assert database_url(tmp_path, "sqlite:///named.db") == "sqlite:///named.db"
    (row,) = sources.judged(database_url(tmp_path), "project:mine/people")
    assert row.group == group(0)
