"""`a.b=value` overrides, written into the tables of a recipe before they are validated."""

import tomllib
from collections.abc import Mapping
from typing import cast

from pydantic.fields import FieldInfo

from palate.config.errors import ConfigError
from palate.config.explain import nearest

Table = dict[str, object]


def override(table: Table, text: str, fields: Mapping[str, FieldInfo]) -> None:
    """Writes `a.b=value` at its place in a table; unknown keys are left to validation."""
    path, value = _split(text)
    *parents, name = path.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            inner = table[parent] = {}
        table = cast(Table, inner)
    table[name] = _literal(value, fields.get(path))


def stage_of(text: str, tables: Mapping[str, Table]) -> tuple[str, str]:
    """`stage` and `key=value` of an override of a recipe, `stage.key=value`."""
    path, value = _split(text)
    stage, dot, key = path.partition(".")
    if not dot and stage in tables:
        raise ConfigError([f"{stage}: a stage, not a key; write {stage}.KEY=VALUE"])
    if dot and stage not in tables:
        known = ", ".join(tables) or "none"
        raise ConfigError(
            [f"{path}: the recipe has no stage {stage}{nearest(stage, tables)} (stages: {known})"]
        )
    return (stage, f"{key}={value}") if dot else ("", text)


def _split(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not all(path.split(".")):
        raise ConfigError([f"{text}: an override is written key=value, such as optimizer.lr=3e-4"])
    return path, value.strip()


def _literal(text: str, field: FieldInfo | None) -> object:
    """A TOML literal, or the text itself where it is none or where text is what the key holds."""
    if field is not None and field.annotation is str and text[:1] not in ("'", '"'):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text
