"""Every recipe in the repository loads, and says at its top how to run it."""

from pathlib import Path

import pytest

from palate.config.load import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert "cafe" in [path.stem for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_under_its_own_name(path: Path) -> None:
    assert load_recipe(path).name == path.stem
    assert f"palate run recipes/{path.name}" in path.read_text(encoding="utf-8").split("\n[")[0]
