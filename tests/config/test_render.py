"""The printed config loads back to itself, and the page of all keys is complete and current."""

import tomllib
from pathlib import Path

import pytest

from palate.config.fields import keys, paths, subsection
from palate.config.load import load_recipe, load_stage
from palate.config.render import to_markdown, to_toml
from palate.config.stages import STAGES

ROOT = Path(__file__).parents[2]
AWKWARD = 'a "quoted" \\ back\tslash \x7f \u00e9 \U0001f600'


@pytest.mark.parametrize("stage", STAGES)
def test_the_defaults_of_every_stage_survive_the_round_trip(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "printed.toml"
    path.write_text(to_toml(STAGES[stage]()), encoding="utf-8")
    assert load_stage(stage, path) == STAGES[stage]()


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("ppo", ["optimizer.lr=1e-30", "seed=3", "kl.control=hard", "whiten_advantages=false"]),
        ("pretrain", ['architecture.extra={"rope theta" = 1.5, tied = true, kind = "x"}']),
        ("evaluate", ['models=["@a", "b"]', "judge=verifier:gsm8k"]),
        ("report", [f"title={AWKWARD}"]),
    ],
)
def test_other_values_survive_it_too(stage: str, overrides: list[str], tmp_path: Path) -> None:
    config = load_stage(stage, None, overrides)
    assert config != STAGES[stage]()
    path = tmp_path / "printed.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_stage(stage, path) == config


def test_a_recipe_survives_it_with_its_names_and_order(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "x"\nseed = 5\n[sft]\nmodel = "m"\nlora.rank = 8\n[again]\nstage = "sft"\n'
        'model = "@sft"\n[dpo]\ndata = "pairs.jsonl"\nmodel = "@again"\n'
    )
    recipe = load_recipe(path)
    path.write_text(to_toml(recipe), encoding="utf-8")
    again = load_recipe(path)
    assert again == recipe
    assert list(again.stages) == ["sft", "again", "dpo"]


def test_the_printed_table_says_what_each_key_means_and_allows() -> None:
    text = to_toml(STAGES["ppo"]())
    assert "# GAE's lambda.\ngae_lambda = 0.95  # a number >= 0 and <= 1; default 0.95\n" in text
    assert '# one of soft, adaptive, hard; default "soft"' in text
    lines = text.splitlines()
    settings = [i for i, line in enumerate(lines) if " = " in line and line[0] != "#"]
    assert len(settings) == len(list(paths(STAGES["ppo"]))) - 1  # the seed is unset
    assert all(lines[i - 1].startswith("#") for i in settings)


def test_the_default_shown_is_the_default_of_the_stage() -> None:
    printed = to_toml(load_stage("ppo", None, ["optimizer.lr=1e-5"]))
    assert "lr = 1e-05  # a number >= 0 and <= 100; default 0.0003\n" in printed
    assert tomllib.loads(printed)["ppo"]["optimizer"]["lr"] == 1e-5


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_is_documented(stage: str) -> None:
    sections = [STAGES[stage]]
    for section in sections:
        assert section.__doc__
        for name, field in keys(section).items():
            assert field.description, f"{section.__name__}.{name} has no string under it"
            inner = subsection(field)
            sections += [inner] if inner else []


def test_the_page_of_all_keys_is_current() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == to_markdown(), "docs/config.md is stale: run `make docs`"


def test_the_page_escapes_the_bars_of_a_divergence() -> None:
    (row,) = {line for line in to_markdown().splitlines() if line.startswith("| `kl.target`")}
    assert r"KL(policy \|\| reference)" in row
    assert row.replace(r"\|", "").count("|") == 5


def test_a_stage_under_a_name_of_its_own_says_which_stage_it_is(tmp_path):
    text = to_toml(STAGES["sft"](epochs=7, model="base"), name="best_of_n")
    assert "[best_of_n]\n" in text
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path).stages == {"best_of_n": STAGES["sft"](epochs=7, model="base")}
