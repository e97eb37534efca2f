"""The schema as data: the keys of a section and what each of them allows."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from palate.config.base import Config


def keys(section: type[Config]) -> dict[str, FieldInfo]:
    """The keys of a section by name, without `stage` and `stages`, which are what tables are."""
    fields = section.model_fields.items()
    return {name: field for name, field in fields if name not in ("stage", "stages")}


def subsection(field: FieldInfo) -> type[Config] | None:
    """The class of a key that is itself a section."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None


def paths(section: type[Config]) -> Iterator[tuple[str, FieldInfo]]:
    """The dotted path of every key that holds a value, in schema order."""
    for name, field in keys(section).items():
        inner = subsection(field)
        if inner is None:
            yield name, field
        else:
            yield from ((f"{name}.{path}", leaf) for path, leaf in paths(inner))


def value_at(config: Config, path: str) -> object:
    """The value of a dotted path."""
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values of a key that has only some; empty for any other key."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def allowed(field: FieldInfo) -> str:
    """What a key accepts, in words: `a number >= 0 and < 1`, `one of linear, cosine`, `a table`."""
    kind = field.annotation
    if get_origin(kind) is UnionType and NoneType in get_args(kind):
        return f"an integer{_range(field)}, or left out"
    if choices(field):
        return "one of " + ", ".join(choices(field))
    if kind is int or kind is float:
        return ("an integer" if kind is int else "a number") + _range(field)
    return next((words for known, words in _PLAIN if kind == known), "a table")


_PLAIN: tuple[tuple[object, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (tuple[str, ...], 'a list of texts such as ["@sft"]'),
    (tuple[float, ...], "a list of numbers such as [1.0, 0.2]"),
    (str | tuple[str, ...], 'text, or a list of texts such as ["a.py:f", "b.py:g"]'),
)


def _range(field: FieldInfo) -> str:
    bounds: list[str] = []
    for bound in field.metadata:
        match bound:
            case Ge(ge=limit):
                bounds.append(f">= {limit}")
            case Gt(gt=limit):
                bounds.append(f"> {limit}")
            case Le(le=limit):
                bounds.append(f"<= {limit}")
            case Lt(lt=limit):
                bounds.append(f"< {limit}")
            case _:
                pass
    return " " + " and ".join(bounds) if bounds else ""
