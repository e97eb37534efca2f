"""The schema as text: a commented TOML file per stage, and docs/config.md."""

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import cast

from pydantic.fields import FieldInfo

from palate.config.base import Config
from palate.config.common import StageConfig
from palate.config.fields import allowed, keys, paths, subsection, value_at
from palate.config.objectives import sentences
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.presets import PRESETS, leaves, stage_of, under_preset
from palate.config.stages import STAGES, Recipe

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


def to_toml(config: Config, *, name: str = "") -> str:
    """A stage or a whole recipe as commented TOML that loads back to an equal config.

    A stage's table has the stage's name, or the given one.
    """
    if isinstance(config, Recipe):
        blocks = [_values(config, Recipe(stages={}))]
        blocks += [_stage(stage, name) for name, stage in config.stages.items()]
    else:
        blocks = [_stage(config, name or stage_of(type(config)))]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def to_markdown() -> str:
    """The page that documents every key of every stage."""
    blocks = [INTRODUCTION]
    for name, stage in STAGES.items():
        default = stage()
        rows = [_row(path, field, value_at(default, path)) for path, field in paths(stage)]
        head = ["| key | allowed | default | meaning |", "| --- | --- | --- | --- |"]
        lines = [f"## {name}", "", str(stage.__doc__), "", *head, *rows]
        if name in PRESETS:
            lines += ["", "| preset | sets |", "| --- | --- |", *_presets(name)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _presets(stage: str) -> Iterator[str]:
    for name, values in PRESETS[stage].items():
        settings = [f"`{path}={_literal(value)}`" for path, value in leaves(values)]
        yield f"| `{name}` | {', '.join(settings) or 'nothing'} |"


def _stage(config: Config, name: str) -> Iterator[str]:
    default = under_preset(type(config)(), dict(config).get("preset"))
    if stage_of(type(config)) in PRESETS:
        default = default.model_copy(update={"preset": "default"})
    meaning = str(type(config).__doc__)
    if isinstance(config, AnyOnPolicyConfig):
        meaning += " Its settings: " + "; ".join(sentences(config)) + "."
    yield from _table(config, default, name, meaning)


def _table(config: Config, default: Config, name: str, meaning: str) -> Iterator[str]:
    yield from _comment(meaning)
    yield f"[{name}]"
    if isinstance(config, StageConfig) and name != stage_of(type(config)):
        yield f"stage = {_literal(stage_of(type(config)))}"
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
