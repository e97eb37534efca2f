"""Functions in a user's own file: `path/to/file.py:function`, or `file.py:factory(data)`."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_SPEC = re.compile(r"^(?P<path>.+\.py):(?P<name>\w+)(?:\((?P<argument>[^()]*)\))?$")


class FunctionSpec(NamedTuple):
    """A file, the name of a callable in it, and the argument of a factory (empty: no factory)."""

    path: Path
    name: str
    argument: str


def parse_function(spec: str) -> FunctionSpec | None:
    """The parts of such a spec; None when it is none."""
    match = _SPEC.match(spec)
    if match is None:
        return None
    return FunctionSpec(Path(match["path"]), match["name"], match["argument"] or "")


def blame(error: Exception) -> str:
    """Where an error of a user's code was raised, and what it says."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{last.filename}, line {last.lineno}, in {last.name}: {said}"


def load_function(spec: str) -> Callable[..., Any]:
    """The callable that a spec names; errors say what the file has instead."""
    parsed = parse_function(spec)
    if parsed is None:
        raise ValueError(f"{spec!r} names no function. Remedy: write path/to/file.py:function")
    path, name, _ = parsed
    if not path.is_file():
        raise FileNotFoundError(
            f"{spec}: there is no file {path} in {Path.cwd()}, from which paths count. "
            "Remedy: name it as path/to/file.py:function, from there or from /"
        )
    module_name = f"palate_user_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be imported: {blame(error)}. Remedy: correct the file"
        ) from error
    function = vars(module).get(name)
    if not callable(function):
        own = [k for k, v in vars(module).items() if getattr(v, "__module__", "") == module_name]
        known = ", ".join(sorted(k for k in own if not k.startswith("_"))) or "none"
        raise ValueError(f"{path} has no function {name!r}. Remedy: it has {known}")
    return function
