"""The verbs of `palate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from palate import __version__
from palate.cli.guard import FAILURE, guard
from palate.cli.options import (
    HERE,
    Columns,
    Database,
    Debug,
    JsonFile,
    Judges,
    Overrides,
    Project,
    RecipeFile,
    Restart,
    Resume,
    Root,
    RowMib,
    Stage,
    TakesSettings,
    UnpackedMib,
    Words,
    columns_of,
    database_url,
    names_and_overrides,
    onward,
    recipe_and_overrides,
)
from palate.config.exchange import Format, Kind, Names, OnBadRow, Weights
from palate.config.objectives import PLACED

app = typer.Typer(
    name="palate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

STAGE_VERBS = {
    "pretrain": "A causal language model and its tokenizer from scratch.",
    "prepare": "Raw data into what other stages read, by a Python function of yours.",
    "sft": "Supervised fine-tuning on demonstrations.",
    "sample": "k responses per prompt from one or several policies.",
    "judge": "Judgements about groups of responses, exported as a dataset.",
    "reward": "A Bradley-Terry reward model on judged groups.",
    "ppo": "Proximal policy optimization with a critic.",
    "grpo": "Advantages relative to the group; GRPO, Dr.GRPO, DAPO, GSPO and CISPO as presets.",
    "reinforce": "The policy gradient without critic or groups; REINFORCE++ as a preset.",
    "rloo": "REINFORCE with a leave-one-out baseline.",
    "online_dpo": "DPO on pairs that the policy samples and a reward judges.",
    "dpo": "Direct preference optimization and its family.",
    "evaluate": "Policies against a baseline, with intervals, KL and length.",
    "report": "One self-contained HTML page about a run.",
}


def main() -> None:
    """The `palate` command."""
    app(prog_name="palate")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"palate {__version__}")
        raise typer.Exit


@app.callback()
def palate(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The whole RLHF loop as one tool: demonstrations, judgements, reward model, policy, report."""


@app.command(cls=TakesSettings, rich_help_panel="Pipeline")
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    *,
    restart: Restart = False,
    resume: Resume = False,
    root: Root = HERE,
    debug: Debug = False,
) -> None:
    """Run a recipe; finished stages are skipped and an unfinished one resumes."""
    with guard(debug=debug):
        from palate.config.load import load_recipe

        loaded = load_recipe(recipe, overrides or ())
        from palate.stages.pipeline import check_home, run_recipe

        check_home(recipe, loaded, root=root)
        way = onward(restart=restart, resume=resume)
        run_recipe(loaded, root=root, console=Console(), onward=way)


def _stage_verb(name: str) -> Callable[..., None]:
    def verb(
        words: Words = None,
        *,
        run: Annotated[str, typer.Option("--run", help="Run; default: the recipe's name.")] = "",
        table: Annotated[
            str, typer.Option("--table", help=f"The recipe's table; default: [{name}].")
        ] = "",
        restart: Restart = False,
        resume: Resume = False,
        root: Root = HERE,
        debug: Debug = False,
    ) -> None:
        with guard(debug=debug):
            from palate.config.load import load_head, load_stage, number_of, table_of

            recipe, overrides = recipe_and_overrides(words or [])
            chosen = table_of(name, recipe, table)
            config = load_stage(chosen, recipe, overrides)
            head = load_head(recipe)
            from palate.stages.pipeline import run_stage

            run_stage(
                chosen,
                config,
                run=run or head.name,
                seed=head.seed,
                number=number_of(chosen, recipe),
                root=root,
                console=Console(),
                onward=onward(restart=restart, resume=resume),
            )

    return verb


def _epilog(stage: str) -> str:
    """Where the keys are, and for stages with a KL what each place of it optimizes."""
    lines = [f"Its keys, with ranges and defaults: palate config {stage}"]
    if stage in ("ppo", "grpo", "reinforce", "rloo"):
        lines += [
            f"kl.placement={placement} kl.estimator={estimator}: {escape(placed.text)}."
            for (placement, estimator), placed in PLACED.items()
        ]
    return "\n\n".join(lines)


for _name, _summary in STAGE_VERBS.items():
    app.command(
        _name,
        cls=TakesSettings,
        help=_summary,
        epilog=_epilog(_name),
        rich_help_panel="Stages",
    )(_stage_verb(_name))


@app.command(cls=TakesSettings, rich_help_panel="Models and data")
def chat(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL [MODEL_B] KEY=VALUE",
            help="Folders or Hub names, and sampling settings such as temperature=0.7.",
        ),
    ],
    *,
    debug: Debug = False,
) -> None:
    """Talk to a model, or to two side by side."""
    with guard(debug=debug):
        from palate.config.common import SamplingConfig
        from palate.config.load import load_section

        models, overrides = names_and_overrides(words)
        if len(models) not in (1, 2):
            raise ValueError(f"chat takes one model or two, not {len(models)}")
        sampling = load_section(SamplingConfig(), overrides)
        from palate.stages import chat as stage

        stage.run(models, console=Console(), sampling=sampling)


@app.command(cls=TakesSettings, rich_help_panel="Models and data")
def arena(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL_B ... KEY=VALUE",
            help="Folders or Hub names, and sampling settings such as temperature=0.7.",
        ),
    ],
    *,
    project: Project,
    root: Root = HERE,
    database: Database = "",
    debug: Debug = False,
) -> None:
    """Let models answer what people ask them in the labelling app, blind and in pairs."""
    with guard(debug=debug):
        from palate.config.common import SamplingConfig
        from palate.config.load import load_section

        models, overrides = names_and_overrides(words)
        sampling = load_section(SamplingConfig(), overrides)
        from palate.stages import arena as stage

        url = database_url(database, root)
        stage.run(models, project=project, url=url, sampling=sampling, console=Console())


@app.command("import", rich_help_panel="Models and data")
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file or Hub name.")],
    *,
    project: Project,
    kind: Annotated[Kind, typer.Option("--kind", help="What the rows are.")] = "preferences",
    bad_rows: Annotated[
        OnBadRow, typer.Option("--bad-rows", help="Stop, or list and go on.")
    ] = "refuse",
    preview: Annotated[
        bool, typer.Option("--preview", help="Read all of it, change nothing, say what is wrong.")
    ] = False,
    columns: Columns = None,
    row_mib: RowMib = 64,
    unpacked_mib: UnpackedMib = 4096,
    root: Root = HERE,
    database: Database = "",
    debug: Debug = False,
) -> None:
    """Bring groups of responses, preferences or judgements into a project of the database."""
    with guard(debug=debug):
        from palate.exchange import importing
        from palate.store.formats import Reading
        from palate.store.lines import MIB, Limits

        limits = Limits(row=row_mib * MIB, unpacked=unpacked_mib * MIB)
        reading = Reading(columns=columns_of(columns), limits=limits)
        if preview:
            importing.preview_file(source, kind=kind, console=Console(), reading=reading)
            return
        importing.import_file(
            source,
            project=project,
            url=database_url(database, root),
            kind=kind,
            console=Console(),
            bad_rows=bad_rows,
            reading=reading,
        )


@app.command(rich_help_panel="Models and data")
def export(
    *,
    project: Project,
    format: Annotated[Format, typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", help="A .jsonl, .jsonl.gz, .parquet or .csv file.")],
    judges: Judges = None,
    names: Annotated[
        Names, typer.Option("--names", help="People under pseudonyms, or as they log in.")
    ] = "pseudonyms",
    weights: Annotated[Weights, typer.Option("--weights", help="How votes weigh.")] = "reliability",
    held_out: Annotated[
        float, typer.Option("--held-out", min=0, max=0.9, help="Fraction of prompts to hold out.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split.")] = 0,
    license: Annotated[
        str, typer.Option("--license", help="License of the texts, for the data card.")
    ] = "not stated",
    root: Root = HERE,
    database: Database = "",
    debug: Debug = False,
) -> None:
    """Write a project of the database as a dataset that other tools read, with a data card."""
    with guard(debug=debug):
        from palate.exchange import exporting

        selection = exporting.Selection(
            project=project,
            judges=judges or (),
            names=names,
            weights=weights,
            held_out=held_out,
            seed=seed,
            license=license,
        )
        url = database_url(database, root)
        exporting.export_project(selection, format=format, out=out, url=url, console=Console())


@app.command(rich_help_panel="Models and data")
def label(
    *,
    project: Annotated[str, typer.Option("--project", help="Project; default: a list.")] = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: a free one.")
    ] = 8765,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy with TLS stands before it.")
    ] = False,
    webhook: Annotated[
        str, typer.Option("--webhook", metavar="URL", help="Told when there are new judgements.")
    ] = "",
    webhook_secret: Annotated[
        Path | None,
        typer.Option("--webhook-secret", metavar="FILE", help="The secret that signs it."),
    ] = None,
    reset_password: Annotated[
        str,
        typer.Option("--reset-password", metavar="LOGIN", help="Print a link, and serve nothing."),
    ] = "",
    root: Root = HERE,
    database: Database = "",
    debug: Debug = False,
) -> None:
    """Let people judge responses in a browser."""
    with guard(debug=debug):
        from palate.web.server import Address, reset_secret, serve
        from palate.web.webhooks import named

        def ready(address: Address) -> None:
            typer.echo(f"palate label: {address.url}")
            if address.token:
                typer.echo(f"first-run token: {address.token} (for the first account, for a day)")

        url = database_url(database, root)
        if reset_password:
            link = f"http://{host}:{port}/passwords/{reset_secret(url, reset_password)}"
            typer.echo(f"{link} (once, for a day; at the address where palate label runs)")
            return
        serve(
            url,
            project=project,
            host=host,
            port=port,
            root=root,
            front="tls-proxy" if behind_proxy else "none",
            hook=named(webhook, webhook_secret),
            ready=ready,
        )


@app.command(cls=TakesSettings, rich_help_panel="Look")
def config(stage: Stage, words: Words = None, *, debug: Debug = False) -> None:
    """Print a stage's settings as a commented TOML table, ready for a recipe."""
    with guard(debug=debug):
        from palate.config.load import load_stage
        from palate.config.render import to_toml

        config = load_stage(stage, *recipe_and_overrides(words or []))
        typer.echo(to_toml(config, name=stage), nl=False)


@app.command(rich_help_panel="Look")
def show(stage: Stage, *, debug: Debug = False) -> None:
    """Print a stage's config, algorithm, maths and source as one page."""
    with guard(debug=debug):
        from palate.cli.show import show as show_stage

        show_stage(stage, Console())


@app.command(cls=TakesSettings, rich_help_panel="Look")
def doctor(words: Words = None, *, root: Root = HERE, debug: Debug = False) -> None:
    """Check this machine, and whether a recipe with these overrides will run on it."""
    with guard(debug=debug):
        from palate.config.load import load_recipe

        recipe, overrides = recipe_and_overrides(words or [])
        if overrides and not recipe:
            raise ValueError(f"{overrides[0]}: an override changes a recipe; name the recipe too")
        loaded = load_recipe(recipe, overrides) if recipe else None
        from palate.stages import doctor as stage

        _exit_unless(stage.run(loaded, root=root, console=Console()))


@app.command(rich_help_panel="Look")
def seeds(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", help="Runs of one recipe, or folders.")
    ],
    *,
    root: Root = HERE,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Combine runs of one recipe under different seeds: means, and the spread between runs."""
    with guard(debug=debug):
        from palate.stages import seeds as stage

        stage.run(runs, root=root, json_file=json_file, console=Console())


@app.command(rich_help_panel="Look")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Checks; none: all quick ones.")
    ] = None,
    *,
    slow: Annotated[bool, typer.Option("--slow", help="Also train transformers.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of samples and problems.")] = 0,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="MODULE:NAME", help="Test your own Algorithm.")
    ] = "",
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Prove the trainers on problems whose optimum is known in closed form."""
    with guard(debug=debug):
        from palate.config.checks import check_known

        check_known(names or ())
        from palate.stages import verify as stage

        proved = stage.run(
            names or (),
            slow=slow,
            seed=seed,
            algorithm=algorithm,
            json_file=json_file,
            console=Console(),
        )
        _exit_unless(proved)


def _exit_unless(well: bool) -> None:
    if not well:
        raise typer.Exit(FAILURE)
