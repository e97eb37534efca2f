"""The frozen record every text-level type derives from, and its content hash."""

import hashlib
import json
import re
from typing import NamedTuple, NewType, cast

from pydantic import BaseModel, ConfigDict

PromptId = NewType("PromptId", str)
GroupId = NewType("GroupId", str)
JudgementId = NewType("JudgementId", str)


class Record(BaseModel):
    """A frozen, closed piece of text-level data: equal content means equal records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Unwritable(NamedTuple):
    """A text that cannot be kept everywhere: where it is, and what is wrong with it."""

    at: str
    problem: str


def unwritable(value: object, at: str = "") -> Unwritable | None:
    """The first text in a JSON value that PostgreSQL, UTF-8 files or HTML cannot hold, because it
    has NUL or half of a surrogate pair; None where there is no such text.

    >>> unwritable({"prompt": ["milk", "tea" + chr(0)]})
    Unwritable(at='prompt[1]', problem='character 4 is NUL')
    """
    waiting = [(at, value)]
    while waiting:
        at, item = waiting.pop()
        if isinstance(item, str):
            if found := _UNWRITABLE.search(item):
                what = "NUL" if found[0] == "\x00" else "half of a surrogate pair"
                return Unwritable(at, f"character {found.start() + 1} is {what}")
        elif isinstance(item, dict):
            for name, inner in reversed(cast("dict[str, object]", item).items()):
                place = f"{at}.{name}" if at else name
                waiting += [(place, inner), (place, name)]
        elif isinstance(item, list):
            waiting += [
                (f"{at}[{index}]", inner)
                for index, inner in reversed([*enumerate(cast("list[object]", item))])
                if isinstance(inner, str | list | dict)
            ]
    return None


_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


def content_id(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a record's (or JSON value's) canonical JSON."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
