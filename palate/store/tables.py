"""Parquet files and Hub datasets: the one file that imports pyarrow and datasets (on use)."""

# pyright: basic

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from palate.store.errors import DataError
from palate.store.lines import Limits, too_large

Row = dict[str, object]
"""One row: field names and plain values."""


def parquet_rows(file: Path | IO[bytes], *, source: str, limits: Limits) -> Iterator[Row]:
    """The rows of a Parquet file, 1024 at a time."""
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        table = pyarrow.parquet.ParquetFile(file)
        groups = map(table.metadata.row_group, range(table.num_row_groups))
        if sum(group.total_byte_size for group in groups) > limits.unpacked:
            raise too_large(source, limits)
        for batch in table.iter_batches(batch_size=1024):
            for value in batch.to_pylist():
                row += 1
                yield value
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # what the system says, not what the file is
        raise DataError(
            f"not a whole Parquet file ({error})",
            source=source,
            row=row + 1,
            remedy="fetch or write it again",
        ) from error


def write_parquet(file: IO[bytes], batches: Callable[[], Iterator[list[Row]]]) -> None:
    """Write batches of rows as one Parquet file; they are asked for twice: first for the schema."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([])
    for batch in batches():
        names = dict.fromkeys(name for row in batch for name in row)
        columns = pyarrow.table({name: [row.get(name) for row in batch] for name in names})
        schema = pyarrow.unify_schemas([schema, columns.schema], promote_options="permissive")
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for batch in batches():
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def hub_rows(source: str, *, split: str) -> Iterator[Row]:
    """The rows of one split of a Hub dataset `name`, `org/name` or `org/name:config`, streaming.

    Cells of CSV files are texts, as in local files, unless the dataset itself declares types.
    """
    import datasets
    from datasets.config import HF_HUB_OFFLINE
    from datasets.exceptions import DatasetsError
    from datasets.packaged_modules.csv.csv import Csv

    name, _, config = source.partition(":")
    load = partial(datasets.load_dataset, name, config or None, split=split, streaming=True)
    try:
        builder = datasets.load_dataset_builder(name, config or None)
        if not isinstance(builder, Csv) or builder.info.features:
            yield from load()
            return
        columns = next(iter(load(keep_default_na=False)), {})
        texts = datasets.Features({column: datasets.Value("string") for column in columns})
        yield from load(keep_default_na=False, features=texts)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(
            f"no such file here, and the Hub did not give split '{split}' of a dataset of that "
            f"name ({type(error).__name__}: {error})",
            source=source,
            remedy="check the name and the network, or download the data and name the file"
            if not HF_HUB_OFFLINE
            else "HF_HUB_OFFLINE is set, so only what was fetched before is there: unset it to "
            "fetch the data, or name a file",
        ) from error
