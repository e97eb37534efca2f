"""A setting that nothing reads is a promise that nothing keeps."""

import ast
from pathlib import Path

import palate
from palate.config.fields import keys, subsection
from palate.config.stages import STAGES

PACKAGE = Path(palate.__file__).parent


def attributes_read() -> set[str]:
    """Every `x.name` that is read in the package outside the schema itself."""
    files = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "config"]
    nodes = (n for path in files for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


def test_every_key_is_read_somewhere() -> None:
    read = attributes_read()
    unread: list[str] = []
    sections = list(STAGES.values())
    for section in sections:
        unread += [f"{section.__name__}.{name}" for name in keys(section) if name not in read]
        inner = [subsection(field) for field in keys(section).values()]
        sections += [kind for kind in dict.fromkeys(inner) if kind and kind not in sections]
    assert unread == []
