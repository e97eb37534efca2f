"""The Blue Door: a small cafe whose guests have a known taste, to run the whole loop on.

`corpus`, `demonstrations` and `prompts` are what a language model learns from; `assess` is the true
taste that no model sees, `verify_amount` checks what a computer can check, `quiz` tells right
answers from wrong ones, and `probe_pairs` asks a judge about one row of the taste at a time.
"""

from palate.worlds.cafe.corpus import corpus
from palate.worlds.cafe.grammar import demonstrations, probe_pairs, prompts
from palate.worlds.cafe.quiz import quiz
from palate.worlds.cafe.taste import (
    PREFERENCES,
    ROWS,
    Assessment,
    assess,
    sum_is_right,
    verify_amount,
)

__all__ = [
    "PREFERENCES",
    "ROWS",
    "Assessment",
    "assess",
    "corpus",
    "demonstrations",
    "probe_pairs",
    "prompts",
    "quiz",
    "sum_is_right",
    "verify_amount",
]
