"""What `palate import` reads and `palate export` writes, by the names that a person gives."""

from typing import Literal

Kind = Literal["groups", "preferences"]
Format = Literal[
    "preference",
    "graded",
    "prompt-completion",
    "messages",
    "prompt-only",
    "unpaired",
    "ranking",
    "hh",
    "alpaca",
    "sharegpt",
    "helpsteer",
    "ultrafeedback",
    "oasst",
    "groups",
    "preferences",
    "judgements",
]
Weights = Literal["reliability", "equal"]
Names = Literal["pseudonyms", "logins"]
"""What stands for people in an export."""
OnBadRow = Literal["refuse", "skip"]
