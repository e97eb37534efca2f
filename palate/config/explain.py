"""Validation errors in words: the key, the value given, what is allowed, the nearest valid name."""

import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from palate.config.base import Config
from palate.config.fields import allowed, choices, paths, subsection


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for the closest of the names, empty when none is close."""
    matches = get_close_matches(word, list(names), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def unknown_key(path: str, known: Sequence[str]) -> str:
    """One line about a dotted path that is not among the known ones.

    A key that lives elsewhere is named where it lives (`lr` is `optimizer.lr`), a misspelt one by
    its nearest spelling.
    """
    name = path.rsplit(".", 1)[-1]
    homes = [home for home in known if home.rsplit(".", 1)[-1] == name]
    homes = get_close_matches(path, homes, n=1, cutoff=0.85) or homes[:3]
    hint = f"; did you mean {' or '.join(homes)}?" if homes else nearest(path, known)
    return f"{path}: unknown key{hint or _beside(path, known)}"


def explain(error: ValidationError, section: type[Config], *, prefix: str) -> list[str]:
    """One line per mistake, in the order in which they were found."""
    known = [prefix + path for path, _ in paths(section)]
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        location = [str(part) for part in detail["loc"]]
        if detail["type"] == "extra_forbidden":
            unknown = _leaves(prefix + ".".join(location), detail["input"])
            lines += [unknown_key(path, known) for path in unknown]
        else:
            path, field = _key(location, section)
            given = json.dumps(detail["input"], ensure_ascii=False)
            hint = nearest(str(detail["input"]), choices(field))
            meaning = str(field.description).rstrip(".")
            lines.append(f"{prefix}{path} = {given}: expected {allowed(field)}{hint} ({meaning})")
    return list(dict.fromkeys(lines))


def _beside(path: str, known: Sequence[str]) -> str:
    table = path[: path.rfind(".") + 1]
    names = {key.removeprefix(table).split(".")[0]: "" for key in known if key.startswith(table)}
    return "; keys: " + ", ".join(names)


def _leaves(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, inner in cast(dict[str, object], value).items():
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path


def _key(location: Sequence[str], section: type[Config]) -> tuple[str, FieldInfo]:
    """The deepest key of the schema on the way to a location inside a value."""
    field = section.model_fields[location[0]]
    inner = subsection(field)
    if inner is None or len(location) == 1:
        return location[0], field
    path, leaf = _key(location[1:], inner)
    return f"{location[0]}.{path}", leaf
