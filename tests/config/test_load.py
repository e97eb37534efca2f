"""Recipes and overrides become configs; every mistake is reported with its key and a remedy."""

from pathlib import Path

import pytest

from palate.config.errors import ConfigError
from palate.config.load import (
    load_head,
    load_recipe,
    load_stage,
    number_of,
    resolved_json,
    table_of,
)
from palate.config.onpolicy import PpoConfig
from palate.config.render import to_toml
from palate.config.stages import STAGES, DpoConfig, EvaluateConfig, Recipe, SftConfig

RECIPE = """
name = "tiny"
seed = 7

[sft]
model = "base"
epochs = 3

[reward]
data = "pairs.jsonl"

[ppo]
k = 2
optimizer = { lr = 1e-5 }

[dpo]
data = "pairs.jsonl"
"""


def recipe_file(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file(folder, text), overrides)
    return caught.value.problems


def stage_problems(stage: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_stage(stage, None, overrides)
    return caught.value.problems


def test_tables_become_stages_in_file_order(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path))
    assert (recipe.name, recipe.seed) == ("tiny", 7)
    assert list(recipe.stages) == ["sft", "reward", "ppo", "dpo"]
    sft = recipe.stages["sft"]
    assert isinstance(sft, SftConfig)
    assert (sft.model, sft.epochs, sft.batch_rows) == ("base", 3.0, SftConfig().batch_rows)


def test_a_table_of_its_own_name_says_which_stage_it_is(tmp_path: Path) -> None:
    text = '[sft]\nmodel = "base"\n[best_of_n]\nstage = "sft"\nmodel = "@sft"\n'
    recipe = load_recipe(recipe_file(tmp_path, text))
    assert isinstance(recipe.stages["best_of_n"], SftConfig)


def test_a_partial_section_keeps_the_defaults_of_its_stage() -> None:
    """`PpoConfig.optimizer` has eps 1e-5 and lr 3e-4; `OptimizerConfig` alone has others."""
    ppo = load_stage("ppo", None, ["optimizer.clip_norm=0.5"])
    assert isinstance(ppo, PpoConfig)
    assert ppo.optimizer == PpoConfig().optimizer.model_copy(update={"clip_norm": 0.5})


def test_overrides_reach_any_depth_and_win_over_the_file(tmp_path: Path) -> None:
    overrides = ["ppo.optimizer.lr=3e-4", "seed=1", "sft.model=some/folder"]
    recipe = load_recipe(recipe_file(tmp_path), overrides)
    ppo, sft = recipe.stages["ppo"], recipe.stages["sft"]
    assert isinstance(ppo, PpoConfig)
    assert isinstance(sft, SftConfig)
    assert (ppo.optimizer.lr, ppo.k, recipe.seed, sft.model) == (3e-4, 2, 1, "some/folder")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("title=2026", "2026"),
        ("title=true", "true"),
        ('title="a = b"', "a = b"),
        ("title=a = b # c", "a = b # c"),
        ("title=", ""),
        ("title=1\nseed = 3", "1\nseed = 3"),
    ],
)
def test_text_needs_no_quotes_and_is_taken_whole(text: str, value: str) -> None:
    assert load_stage("report", None, [text]).model_dump()["title"] == value


def test_a_list_is_a_toml_list() -> None:
    evaluate = load_stage("evaluate", None, ['models=["@ppo", "@dpo"]'])
    assert isinstance(evaluate, EvaluateConfig)
    assert evaluate.models == ("@ppo", "@dpo")


def test_free_tables_take_any_name() -> None:
    pretrain = load_stage("pretrain", None, ["architecture.extra.rope_theta=5e5"])
    assert pretrain.model_dump()["architecture"]["extra"] == {"rope_theta": 5e5}


def test_a_stage_starts_from_its_table_in_the_recipe(tmp_path: Path) -> None:
    ppo = load_stage("ppo", recipe_file(tmp_path), ["kl.coef=0.2"])
    assert isinstance(ppo, PpoConfig)
    assert (ppo.k, ppo.optimizer.lr, ppo.kl.coef) == (2, 1e-5, 0.2)
    assert load_head(recipe_file(tmp_path)).name == "tiny"


def test_a_model_that_no_stage_would_start_from_is_refused(tmp_path: Path) -> None:
    text = '[sft]\nmodel = "base"\n'
    (problem,) = problems(tmp_path, text, "model=../nope")
    assert "so ../nope would be ignored" in problem
    born = '[pretrain]\n[sft]\nmodel = "@pretrain"\n'
    recipe = load_recipe(recipe_file(tmp_path, born), ["model=mine"])
    kept = recipe_file(tmp_path, to_toml(recipe))
    assert load_recipe(kept) == recipe


def test_a_stage_that_the_recipe_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no table \[sftt\]; did you mean sft\? \(tables: sft, "):
        load_stage("sftt", recipe_file(tmp_path))


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    text = """
    nmae = "x"
    [sft]
    modle = "base"
    epochs = "three"
    [ppo]
    reward = "r"
    optimzer.lr = 1e-3
    optimizer.lr = -1
    kl.control = "sotf"
    [rewrad]
    """
    lines = problems(tmp_path, text, "sft.batch_rows=0")
    assert lines == (
        "nmae: unknown key; did you mean name?",
        'sft.epochs = "three": expected a number > 0 (Passes over the data)',
        "sft.batch_rows = 0: expected an integer >= 1 (Demonstrations per update)",
        "sft.modle: unknown key; did you mean sft.model?",
        "ppo.optimizer.lr = -1: expected a number >= 0 and <= 100 (Peak learning rate)",
        'ppo.kl.control = "sotf": expected one of soft, adaptive, hard; did you mean soft? '
        "(`soft`: a fixed coefficient; `adaptive`: Ziegler's controller; `hard`: a budget)",
        "ppo.optimzer.lr: unknown key; did you mean ppo.optimizer.lr?",
        "rewrad: unknown stage rewrad; did you mean reward?; [rewrad] needs a stage key if that "
        f"is its own name (stages: {', '.join(STAGES)})",
    )


def test_a_misplaced_key_is_named_where_it_lives(tmp_path: Path) -> None:
    assert stage_problems("sft", "lr=1") == ("lr: unknown key; did you mean optimizer.lr?",)
    lines = problems(tmp_path, RECIPE, "steps=3")
    assert lines == ("steps: unknown key; did you mean ppo.steps?",)


def test_a_key_like_no_other_lists_the_keys_beside_it() -> None:
    (line,) = stage_problems("ppo", "kl.zzz=1")
    assert line == (
        "kl.zzz: unknown key; keys: control, coef, target, horizon, dual_lr, placement, estimator"
    )


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("k=2.0", "an integer >= 1"),
        ("k=true", "an integer >= 1"),
        ("gamma=.5", "a number > 0 and <= 1"),
        ("gamma=nan", "a number > 0 and <= 1"),
        ("whiten_advantages=1", "true or false"),
        ("whiten_advantages=True", "true or false"),
        ("kl=3", "a table"),
        ("steps={a = 1}", "an integer >= 0"),
        ("seed=1979-05-27", "an integer >= 0, or left out"),
    ],
)
def test_values_are_not_coerced(override: str, allowed: str) -> None:
    (line,) = stage_problems("ppo", override)
    assert f"expected {allowed} (" in line


def test_a_number_where_a_file_should_hold_text_is_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "[sft]\nmodel = 3\n")
    assert line.startswith("sft.model = 3: expected text (")


def test_infinity_is_refused() -> None:
    assert stage_problems("ppo", "kl.coef=inf") == ("kl.coef: inf is not a finite number",)


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    assert "key=value" in problems(tmp_path, RECIPE, "ppo.k")[0]
    assert "key=value" in problems(tmp_path, RECIPE, "ppo..k=1")[0]
    assert problems(tmp_path, RECIPE, "ppo=1") == ("ppo: a stage, not a key; write ppo.KEY=VALUE",)


def test_an_override_cannot_add_a_stage(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, RECIPE, "pop.k=1")
    assert line.startswith("pop.k: the recipe has no stage pop; did you mean ppo?")


def test_references_are_to_earlier_stages(tmp_path: Path) -> None:
    text = """
    [sft]
    model = "@sft"
    [ppo]
    reward = "@rewrad"
    [reward]
    data = "pairs.jsonl"
    [evaluate]
    models = ["@ppo", "@dppo"]
    """
    earlier = "(earlier stages: @sft, @ppo, @reward)"
    assert problems(tmp_path, text) == (
        "sft.model: @sft: [sft] does not come before [sft]; move its table up "
        "(earlier stages: none)",
        "ppo.reward: @rewrad: the recipe has no stage rewrad; did you mean reward? "
        "(earlier stages: @sft)",
        f"evaluate.models: @dppo: the recipe has no stage dppo; did you mean ppo? {earlier}",
    )


def test_a_reference_to_a_later_stage_says_so(tmp_path: Path) -> None:
    text = '[sft]\nmodel = "@dpo"\n[dpo]\ndata = "pairs.jsonl"\n'
    (line,) = problems(tmp_path, text)
    assert line.startswith("sft.model: @dpo: [dpo] does not come before [sft]; move its table up")


def test_malformed_toml_shows_the_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny.toml:\n.*line 3, column 10.*\n  epochs = = 3"):
        load_recipe(recipe_file(tmp_path, '[sft]\nmodel = "base"\nepochs = = 3\n'))


def test_a_missing_recipe_names_the_nearest_file(tmp_path: Path) -> None:
    recipe_file(tmp_path)
    with pytest.raises(ConfigError, match=r"tinny.toml:\n  no such recipe; did you mean tiny.toml"):
        load_recipe(tmp_path / "tinny.toml")


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(ConfigError, match="not a TOML text file"):
            load_recipe(path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", ".."])
def test_a_run_is_named_for_a_folder_below_runs(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, RECIPE, f"name={name}")
    assert line.startswith("name: ")


def test_stage_names_are_plain(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, '["../x"]\nstage = "report"\nevaluation = "x"\n')
    assert "letters, digits" in line


def test_an_empty_recipe_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, 'name = "x"') == ("no stages; a stage is a table such as [sft]",)


def test_a_stage_is_one_table(tmp_path: Path) -> None:
    lines = problems(tmp_path, '[[sft]]\nmodel = "base"\n')
    assert "sft: a stage is one table; write [sft] once, not [[sft]]" in lines


def test_resolved_json_is_equal_for_equal_configs(tmp_path: Path) -> None:
    one = load_stage("pretrain", None, ["architecture.extra={a = 1, b = 2}"])
    other = load_stage("pretrain", None, ["architecture.extra={b = 2, a = 1}"])
    assert resolved_json(one) == resolved_json(other)
    assert resolved_json(one) != resolved_json(load_stage("pretrain"))
    assert DpoConfig.model_validate_json(resolved_json(DpoConfig())) == DpoConfig()
    assert " " not in resolved_json(PpoConfig())


def test_resolved_json_of_a_recipe_keeps_the_order_of_its_stages(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path))
    again = Recipe.model_validate_json(resolved_json(recipe))
    assert again == recipe
    assert list(again.stages) == list(recipe.stages)


def test_naming_a_model_leaves_out_pretraining_and_starts_every_stage_from_it(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("[base]\nstage='pretrain'\n[sft]\nmodel='@base'\n[dpo]\ndata='x.jsonl'\n")
    loaded = load_recipe(recipe, ["model=owner/name"])
    assert list(loaded.stages) == ["sft", "dpo"]
    assert loaded.stages["sft"].model == "owner/name"
    assert loaded.stages["dpo"].model == "@sft"


NAMED = """
[base]
stage = "pretrain"
[sft]
model = "@base"
[sample]
[eight]
stage = "sample"
k = 8
"""


def test_a_verb_runs_the_table_of_its_name_or_the_one_that_is_wanted(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, NAMED)
    assert table_of("sample", recipe) == "sample"
    assert table_of("sample", recipe, "eight") == "eight"
    assert table_of("dpo", None) == "dpo"
    assert load_stage("eight", recipe).model_dump()["k"] == 8


@pytest.mark.parametrize(
    ("stage", "wanted", "message"),
    [
        ("pretrain", "", r"no table \[pretrain\] for palate pretrain \(--table takes base\)"),
        ("sample", "eigth", r"did you mean eight\? \(--table takes sample, eight\)"),
        ("sample", "base", r"no table \[base\] for palate sample: its stage is pretrain \(--table"),
        ("dpo", "", r"no table \[dpo\] for palate dpo \(tables: base, sft, sample, eight\)"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_those_that_do(
    tmp_path: Path, stage: str, wanted: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        table_of(stage, recipe_file(tmp_path, NAMED), wanted)


def test_a_table_without_a_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="--table eight: name the recipe too"):
        table_of("sample", None, "eight")


def test_a_single_stage_has_the_number_and_the_model_that_it_has_in_the_whole_recipe(
    tmp_path: Path,
) -> None:
    recipe = recipe_file(tmp_path, NAMED)
    assert [number_of(name, recipe) for name in ("base", "sft", "eight")] == [1, 2, 4]
    given = recipe_file(tmp_path, 'model = "owner/name"\n' + NAMED)
    assert [number_of(name, given) for name in ("base", "sft", "eight")] == [1, 1, 3]
    assert load_stage("sft", given).model_dump()["model"] == "owner/name"
    assert number_of("sft", None) == 0


NESTED = "[sft]\ndata = " + "[" * 3000 + "]" * 3000 + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[sft]\ndata = 2020-01-01\n",
            "sft.data = 2020-01-01: a date or a time; as text it stands",
        ),
        ("[sft]\nlora = { targets = 07:32:00 }\n", "sft.lora.targets = 07:32:00: a date or"),
        ('[evaluate]\nmodels = ["@sft", 2020-01-01T00:00:00]\n', "evaluate.models = 2020-01-01 00"),
        ('[sft]\ndata = ""\n', "sft.data: data: is empty; leave it out for the default"),
        ('[evaluate]\nmodels = [""]\n', "models: is empty; leave the empty text out of the list"),
        (f"[sft]\nbatch_rows = {10**22}\n", "batch_rows: 10000000000000000000000 is beyond what"),
        ("seed = -1\n[sft]\n", "seed = -1: expected an integer >= 0"),
        ("[sft]\nseed = -1\n", "sft.seed = -1: expected an integer >= 0, or left out"),
        (
            f'name = "{"a" * 5000}"\n[sft]\n',
            "name: 5,000 characters; a folder's name has at most 100",
        ),
        (f'[{"a" * 5000}]\nstage = "sft"\n', "a stage's name has 1 to 100 letters"),
        (NESTED, "tables and lists stand in each other more than 32 deep"),
        ("[sft]\nlora = " + "{ a = " * 60 + "1" + " }" * 60, "more than 32 deep"),
    ],
)
def test_what_nobody_means_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_recipe(path)
    assert said.removeprefix("sft.data: ") in str(refused.value)


def test_an_override_of_nested_lists_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"batch_rows = .*expected an integer"):
        load_stage("sft", None, ["batch_rows=" + "[" * 3000 + "]" * 3000])


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'name = "marked"\n[pretrain]\n')
    assert load_recipe(path).name == "marked"
