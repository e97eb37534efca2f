"""The frozen record every text-level type derives from, and its content hash."""

import hashlib
import json
from typing import NewType

from pydantic import BaseModel, ConfigDict

PromptId = NewType("PromptId", str)
GroupId = NewType("GroupId", str)
JudgementId = NewType("JudgementId", str)


class Record(BaseModel):
    """A frozen, closed piece of text-level data: equal content means equal records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def content_id(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a record's (or JSON value's) canonical JSON."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
