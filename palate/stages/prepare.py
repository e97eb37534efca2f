"""`prepare`: a user's function turns raw data into tables that the other stages read.

The function takes (sources, seed) and returns tables by name. The known names are `corpus`
(texts), `prompts`, `demonstrations`, `groups`, `preferences` and `held_out`; any other is kept for
the user's own judges.
"""

from collections.abc import Iterable, Mapping

from palate.config.stages import PrepareConfig
from palate.feedback.functions import load_function
from palate.records import Demonstration, Group, PreferenceGroup, Prompt, Record
from palate.stages.context import StageContext
from palate.store.errors import DataError

KINDS: dict[str, type[Record]] = {
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "groups": Group,
    "preferences": PreferenceGroup,
    "held_out": PreferenceGroup,
}


def run(config: PrepareConfig, context: StageContext) -> dict[str, float]:
    """Write one JSONL file per table; the summary counts their rows."""
    tables = load_function(config.function)(list(config.sources), context.seed)
    if not isinstance(tables, Mapping):
        raise DataError(
            source=config.function,
            problem=f"returned {type(tables).__name__}, not tables by name",
            remedy="return a dict such as {'prompts': [...], 'preferences': [...]}",
        )
    return {
        name: float(context.folder.write_jsonl(f"{name}.jsonl", checked(config, name, rows)))
        for name, rows in tables.items()
    }


def checked(config: PrepareConfig, name: str, rows: Iterable[object]) -> list:
    """The rows of one table; texts become objects, and a known table holds its own records."""
    table = [{"text": row} if isinstance(row, str) else row for row in rows]
    kind = KINDS.get(name)
    for number, row in enumerate(table, start=1):
        if kind is not None and not isinstance(row, kind):
            raise DataError(
                source=config.function,
                row=number,
                field=name,
                problem=f"expected a {kind.__name__}, found a {type(row).__name__}",
                remedy=f"build it with palate.records.{kind.__name__}",
            )
    return table
