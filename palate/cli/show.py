"""`palate show`: a stage's config, algorithm, maths and source as one page."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

import palate
from palate.config.errors import ConfigError
from palate.config.explain import nearest
from palate.config.stages import STAGES, OnPolicyConfig, StageConfig

PACKAGE = Path(palate.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Python source and where it stands.

    >>> Excerpt(place="palate/maths/kl.py", source="...").place
    'palate/maths/kl.py'
    """

    place: str
    source: str


def show(stage: str, console: Console) -> None:
    """Prints the page, highlighted on a terminal and plain into a file or pipe."""
    for excerpt in page(stage):
        if console.is_terminal:
            console.rule(excerpt.place, align="left")
            console.print(Syntax(excerpt.source, "python", word_wrap=True))
        else:
            console.out(f"# {excerpt.place}\n\n{excerpt.source}\n", highlight=False)


def page(stage: str) -> Iterator[Excerpt]:
    """Config, algorithm, the functions that it calls, their maths, and the stage itself."""
    if stage not in STAGES:
        known = ", ".join(STAGES)
        raise ConfigError([f"{stage}: no such stage{nearest(stage, STAGES)} (stages: {known})"])
    section = STAGES[stage]
    for parent in reversed(section.mro()):
        if issubclass(parent, StageConfig) and parent is not StageConfig:
            yield Excerpt(place="palate/config/stages.py", source=inspect.getsource(parent))
    algorithm = PACKAGE / "algorithms" / f"{stage}.py"
    if algorithm.is_file():
        yield _whole(algorithm)
        helpers = _called(algorithm, "algorithms")
        yield from _excerpts(helpers)
        maths = _called(algorithm, "maths")
        for place, function in helpers:
            maths |= _called(place, "maths", within=function)
        yield from _excerpts(maths)
    file = "onpolicy" if issubclass(section, OnPolicyConfig) else stage
    yield _whole(PACKAGE / "stages" / f"{file}.py")


Functions = dict[tuple[Path, str], None]
"""(file, function) in the order of their first use."""


def _called(path: Path, room: str, *, within: str = "") -> Functions:
    """The functions of a room that a file, or one function of it, names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules: dict[str, Path] = {}
    names: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"palate.{room}"):
            home = PACKAGE.parent.joinpath(*str(node.module).split("."))
            for alias in node.names:
                if home.is_dir():
                    modules[alias.asname or alias.name] = home / f"{alias.name}.py"
                else:
                    names[alias.asname or alias.name] = (home.with_suffix(".py"), alias.name)
    found: Functions = {}
    for node in ast.walk(_function(tree, within) or tree):
        match node:
            case ast.Name(id=name) if name in names:
                found[names[name]] = None
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in modules:
                found[modules[name], attribute] = None
            case _:
                pass
    return found


def _function(tree: ast.Module, name: str) -> ast.AST | None:
    functions = (ast.FunctionDef, ast.ClassDef)
    return next((n for n in tree.body if isinstance(n, functions) and n.name == name), None)


def _excerpts(functions: Functions) -> Iterator[Excerpt]:
    for path, name in functions:
        text = path.read_text(encoding="utf-8")
        node = _function(ast.parse(text), name)
        if node is not None:
            yield Excerpt(place=_place(path), source=str(ast.get_source_segment(text, node)))


def _whole(path: Path) -> Excerpt:
    return Excerpt(place=_place(path), source=path.read_text(encoding="utf-8").rstrip())


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()
