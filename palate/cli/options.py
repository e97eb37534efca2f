"""What the verbs take: arguments, options, and the words that are recipes or overrides."""

from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand


class TakesSettings(TyperCommand):
    """A verb whose settings are words; whoever writes one as an option is told so."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """The arguments, parsed; typer itself names the nearest option where one is near."""
        options = {name.lstrip("-") for one in self.params for name in one.opts} | {"help"}
        for word, following in pairwise([*args, ""]):
            name, _, value = word.removeprefix("--").partition("=")
            if word.startswith("--") and name and not get_close_matches(name, options, n=1):
                setting = f"{name.replace('-', '_')}={value or following or 'VALUE'}"
                raise typer.BadParameter(
                    f"there is no option --{name}; settings are words: {setting}", ctx=ctx
                )
        return super().parse_args(ctx, args)


Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="RECIPE.toml KEY=VALUE", help="A recipe and overrides."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="STAGE.KEY=VALUE", help="Overrides such as ppo.kl.coef=0.1."),
]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The recipe.")]
Stage = Annotated[str, typer.Argument(metavar="STAGE", help="A stage, such as ppo.")]
Root = Annotated[Path, typer.Option("--root", help="Folder of runs/ and palate.db.")]
Project = Annotated[str, typer.Option("--project", help="Project in the database (a run's name).")]
Database = Annotated[
    str,
    typer.Option(
        "--database",
        "--db",
        help="Database URL; empty: PALATE_DATABASE, else palate.db of the root.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judges",
        help="Whose judgements: people, models, simulated, imported, all, or a name such as "
        "person:ann or 'person:*'; may be repeated.",
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers there.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin an unfinished stage again; what it has is lost.")
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with an unfinished stage though its code has changed (docs/recipes).",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=COLUMN",
        help="The column of the file that holds a field, such as prompt=question; may be repeated.",
    ),
]
RowMib = Annotated[int, typer.Option("--row-mib", min=1, help="Largest row, in MiB.")]
UnpackedMib = Annotated[
    int, typer.Option("--unpacked-mib", min=1, help="Largest size of a file unpacked, in MiB.")
]
HERE = Path()


def columns_of(words: list[str] | None) -> dict[str, str]:
    """The column of each field, of words such as `prompt=question`."""
    pairs = [word.partition("=") for word in words or ()]
    strange = [name + column for name, equals, column in pairs if not (name and equals and column)]
    if strange:
        raise ValueError(f"--column {strange[0]}: expected FIELD=COLUMN, such as prompt=question")
    return {name.strip(): column.strip() for name, _, column in pairs}


def database_url(database: str, root: Path) -> str:
    """The database that `--database` or the environment names, else the one of the root folder."""
    from palate.config import load

    return load.database_url(root, database)


def onward(*, restart: bool, resume: bool) -> Literal["ask", "restart", "resume"]:
    """What becomes of a stage that has begun and whose settings or inputs have changed."""
    if restart and resume:
        raise ValueError("--restart begins again and --resume goes on: give one of them")
    return "restart" if restart else "resume" if resume else "ask"


def recipe_and_overrides(words: list[str]) -> tuple[Path | None, list[str]]:
    """At most one recipe, and the words with a `=`."""
    files, overrides = names_and_overrides(words)
    strange = [word for word in files if not word.endswith(".toml")] or files[1:]
    if strange:
        raise ValueError(f"{strange[0]}: expected one recipe (a .toml file) and key=value words")
    return (Path(files[0]) if files else None), overrides


def names_and_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Words with a `=` are overrides; the others are names."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]
