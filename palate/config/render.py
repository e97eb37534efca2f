"""The schema as text: a commented TOML file per stage, and docs/config.md."""

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import cast

from pydantic.fields import FieldInfo

from palate.config.base import Config
from palate.config.fields import allowed, keys, paths, subsection, value_at
from palate.config.stages import STAGES, Recipe, StageConfig

INTRODUCTION = """\
# Configuration

One schema feeds recipes, `key=value` overrides, `palate config` and this page (`make docs` writes
it). A recipe is a TOML file: `name` and `seed`, then one table per stage, run in file order. A
table is named for its stage; one with a name of its own says which stage it is with
`stage = "..."`. Text that begins with `@` refers to an earlier stage of the recipe by name. What a
table leaves out has the default below. On the command line, `palate run recipe.toml
ppo.optimizer.lr=1e-4` overrides a recipe and `palate ppo optimizer.lr=1e-4` a single stage.
`palate config ppo` prints a stage's table with these comments.
"""


def to_toml(config: Config) -> str:
    """A stage or a whole recipe as commented TOML that loads back to an equal config."""
    if isinstance(config, Recipe):
        blocks = [_values(config, Recipe(stages={}))]
        blocks += [_table(stage, type(stage)(), name) for name, stage in config.stages.items()]
    else:
        blocks = [_table(config, type(config)(), _tag(config))]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def to_markdown() -> str:
    """The page that documents every key of every stage."""
    blocks = [INTRODUCTION]
    for name, stage in STAGES.items():
        default = stage()
        rows = [_row(path, field, value_at(default, path)) for path, field in paths(stage)]
        head = ["| key | allowed | default | meaning |", "| --- | --- | --- | --- |"]
        blocks.append("\n".join([f"## {name}", "", str(stage.__doc__), "", *head, *rows]) + "\n")
    return "\n".join(blocks)


def _tag(config: Config) -> str:
    return str(type(config).model_fields["stage"].default)


def _table(config: Config, default: Config, name: str, meaning: str = "") -> Iterator[str]:
    yield from _comment(meaning or str(type(config).__doc__))
    yield f"[{name}]"
    if isinstance(config, StageConfig) and name != _tag(config):
        yield f"stage = {_literal(_tag(config))}"
    yield from _values(config, default)
    for key, field in keys(type(config)).items():
        if subsection(field):
            yield ""
            inner, inner_default = value_at(config, key), value_at(default, key)
            assert isinstance(inner, Config)
            assert isinstance(inner_default, Config)
            yield from _table(inner, inner_default, f"{name}.{key}", str(field.description))


def _values(config: Config, default: Config) -> Iterator[str]:
    for key, field in keys(type(config)).items():
        if subsection(field):
            continue
        value, usual = value_at(config, key), value_at(default, key)
        yield from _comment(str(field.description))
        setting = f"# {key} =" if value is None else f"{key} = {_literal(value)}"
        yield f"{setting}  # {allowed(field)}; default {_shown(usual)}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, width=98, initial_indent="# ", subsequent_indent="# ")


def _row(path: str, field: FieldInfo, default: object) -> str:
    cells = (f"`{path}`", allowed(field), f"`{_shown(default)}`", str(field.description))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(value: object) -> str:
    return "unset" if value is None else _literal(value)


def _literal(value: object) -> str:
    """A TOML literal; JSON's scalars and lists are TOML's, its objects are inline tables."""
    if isinstance(value, dict):
        items = cast(dict[str, object], value).items()
        return "{" + ", ".join(f"{_literal(key)} = {_literal(inner)}" for key, inner in items) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
