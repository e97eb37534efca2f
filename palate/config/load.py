"""TOML recipes and `key=value` overrides to frozen configs, or every problem at once."""

import json
import os
import re
import tomllib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from palate.config.base import Config
from palate.config.common import StageConfig
from palate.config.errors import ConfigError
from palate.config.explain import explain, nearest, unknown_key
from palate.config.fields import allowed, paths
from palate.config.override import Table, override, stage_of
from palate.config.presets import under_preset
from palate.config.rules import check, check_references
from palate.config.stages import LONGEST_NAME, STAGES, Recipe

AnyConfig = TypeVar("AnyConfig", bound=Config)

_DEEPEST = 32
HEAD = ("name", "seed", "model")
"""The keys above a recipe's first table."""


def database_url(root: Path, named: str = "") -> str:
    """The database: the named one, else that of the environment's `PALATE_DATABASE`, else
    `palate.db` in the root folder."""
    own = f"sqlite:///{(root / 'palate.db').as_posix()}"
    return named or os.environ.get("PALATE_DATABASE") or own


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML file: its tables are the stages, in file order.

    Overrides are `stage.key=value`, `name=value` and `seed=value`.
    """
    tree = _read(path)
    tables = _tables(tree)
    problems: list[str] = [] if tables else ["no stages; a stage is a table such as [sft]"]
    for text in overrides:
        with _collected(problems):
            _override_recipe(tree, text)
    problems += _strangers(tree)
    recipe = Recipe(stages={})
    with _collected(problems):
        recipe = _head(tree)
    stages: dict[str, StageConfig] = {}
    for name, table in tables.items():
        with _collected(problems):
            config = _merged(_default(name, table), table, prefix=f"{name}.")
            stages[name] = config
            lines = [*check(config), *check_references(config, name, list(tables))]
            problems += [f"{name}.{line}" for line in lines]
    if problems:
        raise ConfigError(problems, source=str(path))
    if recipe.model:
        born = _born(tables)
        stages = {name: _starting_from(recipe.model, stages[name], born) for name in stages}
        stages = {name: config for name, config in stages.items() if name not in born}
        if not any(_names(config, recipe.model) for config in stages.values()):
            problem = (
                f"model: no stage starts where a pretrain stage ends, so {recipe.model} would be "
                "ignored; set the model of a stage, such as sft.model"
            )
            raise ConfigError([problem], source=str(path))
    return recipe.model_copy(update={"stages": stages})


def _born(tables: Mapping[str, Table]) -> set[str]:
    """The stages that make a model of nothing, which a recipe's `model` takes the place of."""
    return {name for name, table in tables.items() if _tag(name, table) == "pretrain"}


def _names(config: StageConfig, model: str) -> bool:
    return any(
        value == model or (isinstance(value, tuple) and model in value) for _, value in config
    )


def _starting_from(model: str, config: StageConfig, born: set[str]) -> StageConfig:
    """The stage with `model` wherever it referred to one of `born`."""

    def renamed(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(renamed(item) for item in cast(tuple[object, ...], value))
        is_born = isinstance(value, str) and value.startswith("@") and value[1:] in born
        return model if is_born else value

    return config.model_copy(update={key: renamed(value) for key, value in config})


def load_head(recipe: Path | None) -> Recipe:
    """A recipe's name and seed without its stages; the defaults when there is no recipe."""
    return _head({} if recipe is None else _read(recipe))


def load_stage(
    stage: str, recipe: Path | None = None, overrides: Sequence[str] = ()
) -> StageConfig:
    """One stage: its table in the recipe (or the defaults) with overrides such as `k=8`."""
    tables: dict[str, Table] = {stage: {}} if recipe is None else _tables(_read(recipe))
    if stage not in tables:
        problem = f"no table [{stage}]{nearest(stage, tables)} (tables: {', '.join(tables)})"
        raise ConfigError([problem], source=str(recipe))
    table = tables[stage]
    source = f"[{stage}]" if recipe is None else f"{recipe}, [{stage}]"
    config = _overridden(_default(stage, table), table, overrides, source=source)
    model = load_head(recipe).model
    return _starting_from(model, config, _born(tables)) if model else config


def table_of(stage: str, recipe: Path | None, wanted: str = "") -> str:
    """The table that a stage's verb runs: the wanted one, else the one with the stage's name."""
    name = wanted or stage
    if recipe is None:
        if wanted:
            raise ConfigError([f"--table {wanted}: name the recipe too that has this table"])
        return stage
    tables = _tables(_read(recipe))
    fitting = [other for other, table in tables.items() if _tag(other, table) == stage]
    if name in fitting:
        return name
    is_other = f": its stage is {_tag(name, tables[name])}" if name in tables else ""
    known = f"--table takes {', '.join(fitting)}" if fitting else f"tables: {', '.join(tables)}"
    problem = f"no table [{name}] for palate {stage}{is_other or nearest(name, fitting)} ({known})"
    raise ConfigError([problem], source=str(recipe))


def number_of(name: str, recipe: Path | None) -> int:
    """The number of a stage's folder when the whole recipe runs, from 1; 0 without a recipe."""
    if recipe is None:
        return 0
    tree = _read(recipe)
    left_out = _born(_tables(tree)) - {name} if _head(tree).model else set[str]()
    return [table for table in _tables(tree) if table not in left_out].index(name) + 1


def load_section(default: AnyConfig, overrides: Sequence[str]) -> AnyConfig:
    """A section that belongs to no stage, with overrides such as `temperature=0.7`."""
    return _overridden(default, {}, overrides, source="")


def resolved_json(config: Config) -> str:
    """Canonical JSON: equal configs give equal text; only a recipe's stages keep their order."""
    plain = config.model_dump(mode="json")
    if isinstance(config, Recipe):
        plain["stages"] = {n: json.loads(resolved_json(c)) for n, c in config.stages.items()}
        return json.dumps(plain, separators=(",", ":"))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


@contextmanager
def _collected(problems: list[str]) -> Generator[None]:
    """Goes on after a mistake, so that all of them are reported together."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def _read(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = nearest(path.name, [file.name for file in path.parent.glob("*.toml")])
        raise ConfigError([f"no such recipe{near}"], source=str(path)) from None
    except (IsADirectoryError, NotADirectoryError, UnicodeDecodeError):
        raise ConfigError(["not a TOML text file"], source=str(path)) from None
    try:
        tree = tomllib.loads(text)
        if _depth(tree) > _DEEPEST:
            raise RecursionError
        return tree
    except RecursionError:
        problem = f"tables and lists stand in each other more than {_DEEPEST} deep"
        raise ConfigError([problem], source=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        line = [text.split("\n")[int(place[1]) - 1].strip()] if place else []
        raise ConfigError([f"not valid TOML: {error}", *line], source=str(path)) from None


def _depth(value: object) -> int:
    """How many tables and lists are around the innermost value."""
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = cast(Table, value).values()
    elif isinstance(value, list):
        inner = cast(list[object], value)
    else:
        return 0
    return 1 + max(map(_depth, inner), default=0)


def _times(path: str, value: object) -> Iterator[tuple[str, date | time]]:
    """(dotted path, value) of every date or time: TOML has them, settings do not."""
    if isinstance(value, dict):
        for name, inner in cast(Table, value).items():
            yield from _times(f"{path}.{name}".strip("."), inner)
    elif isinstance(value, list):
        for inner in cast(list[object], value):
            yield from _times(path, inner)
    elif isinstance(value, (date, time)):
        yield path, value


def _tables(tree: Table) -> dict[str, Table]:
    return {name: cast(Table, value) for name, value in tree.items() if isinstance(value, dict)}


def _head(tree: Table) -> Recipe:
    head = {name: tree[name] for name in HEAD if name in tree}
    recipe = _merged(Recipe(stages={}), head, prefix="")
    if problems := check(recipe):
        raise ConfigError(problems)
    return recipe


def _strangers(tree: Table) -> list[str]:
    """What stands above the first table and is neither the recipe's name nor its seed."""
    tables = _tables(tree)
    inside = [f"{name}.{path}" for name, table in tables.items() for path in _fields(name, table)]
    strangers = [name for name in tree if name not in (*tables, *HEAD)]
    return [
        f"{name}: a stage is one table; write [{name}] once, not [[{name}]]"
        if isinstance(tree[name], list)
        else unknown_key(name, [*HEAD, *inside])
        for name in strangers
    ]


def _override_recipe(tree: Table, text: str) -> None:
    tables = _tables(tree)
    stage, assignment = stage_of(text, tables)
    if stage:
        override(tables[stage], assignment, _fields(stage, tables[stage]))
    else:
        override(tree, assignment, Recipe.model_fields)


def _fields(name: str, table: Table) -> dict[str, FieldInfo]:
    """Every dotted path of a stage's table; none when nobody knows the stage."""
    kind = STAGES.get(_tag(name, table))
    return dict(paths(kind)) if kind else {}


def _tag(name: str, table: Table) -> str:
    return str(table.get("stage", name))


def _default(name: str, table: Table) -> StageConfig:
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}", name):
        kinds = f"1 to {LONGEST_NAME} letters, digits, - and _"
        raise ConfigError([f"{name[:80]!r}: a stage's name has {kinds}"])
    tag = _tag(name, table)
    if tag not in STAGES:
        remedy = "" if "stage" in table else f"; [{name}] needs a stage key if that is its own name"
        problem = f"unknown stage {tag}{nearest(tag, STAGES)}{remedy} (stages: {', '.join(STAGES)})"
        raise ConfigError([f"{name}: {problem}"])
    return STAGES[tag]()


def _overridden(
    default: AnyConfig, table: Table, overrides: Sequence[str], *, source: str
) -> AnyConfig:
    problems: list[str] = []
    fields = dict(paths(type(default)))
    for text in overrides:
        with _collected(problems):
            override(table, text, fields)
    with _collected(problems):
        config = _merged(default, table, prefix="")
        problems += check(config)
        if not problems:
            return config
    raise ConfigError(problems, source=source)


def _merged(default: AnyConfig, table: Table, *, prefix: str) -> AnyConfig:
    """The default with a table's values written over it, validated key by key."""
    section = type(default)
    fields = dict(paths(section))
    times = [
        f'{path} = {value}: a date or a time; as text it stands in quotes: "{value}"'
        for path, value in _times("", table)
        if path not in fields or allowed(fields[path]).startswith(("text", "a list of texts"))
    ]
    if times:
        raise ConfigError([f"{prefix}{line}" for line in times])
    usual = under_preset(default, table.get("preset"))
    plain = _over(usual.model_dump(mode="json"), table)
    try:
        return section.model_validate_json(json.dumps(plain, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, section, prefix=prefix)) from error


def _over(default: Table, table: Table) -> Table:
    """A table's values over the defaults, section by section: a stage's own defaults stay."""
    merged = dict(default)
    for name, value in table.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[name] = _over(cast(Table, below), cast(Table, value))
        else:
            merged[name] = value
    return merged
