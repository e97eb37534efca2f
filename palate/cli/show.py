"""`palate show`: a stage's config, algorithm, maths and source as one page."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat

from rich.console import Console
from rich.syntax import Syntax

import palate
from palate.config.common import KlConfig, StageConfig
from palate.config.errors import ConfigError
from palate.config.explain import nearest
from palate.config.onpolicy import OnPolicyConfig
from palate.config.presets import PRESETS
from palate.config.stages import STAGES

PACKAGE = Path(palate.__file__).parent

_FORMULAS = ("palate.algorithms", "palate.maths")


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
    """Config, algorithm, all functions that it comes down to, their maths, the loop, the stage."""
    if stage not in STAGES:
        known = ", ".join(STAGES)
        raise ConfigError([f"{stage}: no such stage{nearest(stage, STAGES)} (stages: {known})"])
    section = STAGES[stage]
    on_policy = issubclass(section, OnPolicyConfig)
    for parent in reversed(section.mro()):
        if issubclass(parent, StageConfig) and parent is not StageConfig:
            place = _place(Path(inspect.getfile(parent)))
            yield Excerpt(place=place, source=inspect.getsource(parent))
    if "kl" in section.model_fields:
        yield Excerpt(place="palate/config/common.py", source=inspect.getsource(KlConfig))
    if stage in PRESETS:
        presets = pformat(PRESETS[stage], sort_dicts=False, width=96)
        yield Excerpt(place="palate/config/presets.py", source=presets)
    algorithm = PACKAGE / "algorithms" / f"{stage}.py"
    if algorithm.is_file():
        yield _whole(algorithm)
        used = _reached(algorithm)
        yield from _excerpts({name: None for name in used if name[0].parent.name == "algorithms"})
        yield from _excerpts({name: None for name in used if name[0].parent.name == "maths"})
    if on_policy:
        yield _whole(PACKAGE / "training" / "improve.py")
    yield _whole(PACKAGE / "stages" / f"{'onpolicy' if on_policy else stage}.py")


Functions = dict[tuple[Path, str], None]
"""(file, function) in the order of their first use."""


def _reached(algorithm: Path) -> Functions:
    """The functions of `algorithms` and `maths` that a file calls, and those that they call."""
    found = _called(algorithm)
    for path, function in (waiting := list(found)):
        for name in _called(path, within=function):
            if name not in found and name[0] != algorithm:
                found[name] = None
                waiting.append(name)
    return found


def _called(path: Path, *, within: str = "") -> Functions:
    """The functions of `algorithms` and `maths` that a file, or one function of it, names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules: dict[str, Path] = {}
    names: dict[str, tuple[Path, str]] = {}
    if within:
        names = {n.name: (path, n.name) for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_FORMULAS):
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
