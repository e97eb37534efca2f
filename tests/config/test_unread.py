"""A setting that nothing reads is a promise that nothing keeps."""

import ast
from pathlib import Path

import pytest

import palate
from palate.cli.show import page
from palate.config.common import ReadingConfig
from palate.config.fields import keys, subsection
from palate.config.onpolicy import OnPolicyConfig
from palate.config.stages import STAGES

PACKAGE = Path(palate.__file__).parent


def attributes_read() -> set[str]:
    """Every `x.name` that is read in the package outside the schema itself."""
    files = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "config"]
    nodes = (n for path in files for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


@pytest.mark.parametrize("stage", [s for s in STAGES if issubclass(STAGES[s], OnPolicyConfig)])
def test_every_key_of_an_on_policy_stage_is_read_by_that_very_stage(stage: str) -> None:
    """`palate show` prints all of its code, so what is not read there is not read."""
    trees = [
        ast.parse(excerpt.source)
        for excerpt in page(stage)
        if not excerpt.place.startswith("palate/config/")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    own = [name for name in keys(STAGES[stage]) if name not in ReadingConfig.model_fields]
    assert [name for name in own if name not in read | {"preset"}] == []


def test_every_key_is_read_somewhere() -> None:
    read = attributes_read()
    unread: list[str] = []
    sections = list(STAGES.values())
    for section in sections:
        names = [name for name in keys(section) if name != "preset"]
        unread += [f"{section.__name__}.{name}" for name in names if name not in read]
        inner = [subsection(field) for field in keys(section).values()]
        sections += [kind for kind in dict.fromkeys(inner) if kind and kind not in sections]
    assert unread == []
