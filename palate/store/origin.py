"""Origins: all that decides what a stage makes, and what has changed between two of them."""

import json
from collections.abc import Iterator, Mapping
from typing import cast

from pydantic import JsonValue

from palate.records import Record, content_id


class Origin(Record):
    """The settings of a stage, the hashes of what it reads, its seed, and palate's version.

    >>> one = Origin(stage="sft", settings={"lr": 1e-3}, inputs={}, seed=0, code_version="0.1.0")
    >>> one.fingerprint == one.model_copy(update={"seed": 1}).fingerprint
    False
    """

    stage: str
    settings: dict[str, JsonValue]
    inputs: dict[str, str]
    seed: int
    code_version: str

    @property
    def fingerprint(self) -> str:
        """Content hash of all of it; it holds no time and no place."""
        settings = json.dumps(self.settings)
        return fingerprint(self.stage, settings, self.inputs, self.seed, self.code_version)


class Begun(Record):
    """What an unfinished stage began with.

    `resumed` has a sentence for every time that it went on with something changed.
    """

    origin: Origin
    resumed: tuple[str, ...] = ()


class Change(Record):
    """One thing that is no longer as it was: a dotted setting or the name of an input, in words.

    >>> Change(name="kl.coef", text="kl.coef was 0.05 and is 0.07").text
    'kl.coef was 0.05 and is 0.07'
    """

    name: str
    text: str


SEED, VERSION = "seed", "palate"
"""The names of changes that are neither settings nor inputs."""


def fingerprint(
    stage: str, config_json: str, inputs: Mapping[str, str], seed: int, code_version: str
) -> str:
    """Content hash of all that decides what a stage makes; it holds no time and no place.

    >>> one = fingerprint("sft", '{"lr": 1e-3, "epochs": 2}', {}, 0, "0.1.0")
    >>> one == fingerprint("sft", '{"epochs": 2, "lr": 0.001}', {}, 0, "0.1.0")
    True
    """
    return content_id([stage, json.loads(config_json), dict(inputs), seed, code_version])


def changes(before: Origin, now: Origin) -> list[Change]:
    """What differs, settings first; inputs that a changed setting names are not told twice."""
    old, new = dict(_leaves("", before.settings)), dict(_leaves("", now.settings))
    found = [
        _moved(path, old.get(path), new.get(path))
        for path in {**old, **new}
        if old.get(path) != new.get(path)
    ]
    for name, digest in before.inputs.items():
        if now.inputs.get(name, digest) != digest:
            text = f"{name} made something else" if name[:1] == "@" else f"{name} has changed"
            found.append(Change(name=name, text=text))
    if not found:
        for name in sorted(set(before.inputs) ^ set(now.inputs)):
            what = "is read now" if name in now.inputs else "is no longer there"
            found.append(Change(name=name, text=f"{name} {what}"))
    if before.stage != now.stage:
        found.append(_moved("stage", before.stage, now.stage))
    if before.seed != now.seed and SEED not in {change.name for change in found}:
        found.append(_moved(SEED, before.seed, now.seed))
    if before.code_version != now.code_version:
        found.append(_moved(VERSION, before.code_version, now.code_version))
    return found


def _moved(name: str, old: object, new: object) -> Change:
    return Change(name=name, text=f"{name} was {_short(old)} and is {_short(new)}")


def _short(value: object) -> str:
    text = "not there" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Settings by dotted path."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield from _leaves(f"{path}.{name}" if path else name, inner)
    else:
        yield path, value
