"""A setting that nothing reads is a promise that nothing keeps."""

import re
from pathlib import Path

import palate
from palate.config.fields import keys, subsection
from palate.config.stages import STAGES

PACKAGE = Path(palate.__file__).parent


def test_every_key_is_read_somewhere() -> None:
    files = [p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE / "config"]
    read = set(re.findall(r"\.([a-z_0-9]+)", "\n".join(p.read_text("utf-8") for p in files)))
    unread = set()
    sections = list(STAGES.values())
    for section in sections:
        for name, field in keys(section).items():
            unread |= set() if name in read else {f"{section.__name__}.{name}"}
            inner = subsection(field)
            sections += [inner] if inner and inner not in sections else []
    assert sorted(unread) == []
