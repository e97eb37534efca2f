"""Rows into records and records into rows: the formats that trainers and datasets use."""

from palate.store.formats.foreign import (
    alpaca_rows,
    helpsteer_rows,
    hh_rows,
    oasst_row,
    sharegpt_rows,
    ultrafeedback_rows,
)
from palate.store.formats.read import (
    numbered,
    read_demonstrations,
    read_groups,
    read_judged,
    read_preferences,
    read_prompts,
    read_texts,
    read_unpaired,
    row_of,
    unread_fields,
)
from palate.store.formats.split import split_by_prompt
from palate.store.formats.write import (
    completion_row,
    demonstration_row,
    graded_preference_rows,
    messages_row,
    preference_rows,
    prompt_row,
    ranking_row,
    record_row,
    unpaired_row,
    write_rows,
)
from palate.store.tables import Row

__all__ = [
    "Row",
    "alpaca_rows",
    "completion_row",
    "demonstration_row",
    "graded_preference_rows",
    "helpsteer_rows",
    "hh_rows",
    "messages_row",
    "numbered",
    "oasst_row",
    "preference_rows",
    "prompt_row",
    "ranking_row",
    "read_demonstrations",
    "read_groups",
    "read_judged",
    "read_preferences",
    "read_prompts",
    "read_texts",
    "read_unpaired",
    "record_row",
    "row_of",
    "sharegpt_rows",
    "split_by_prompt",
    "ultrafeedback_rows",
    "unpaired_row",
    "unread_fields",
    "write_rows",
]
