"""Proof that the trainers reach the optima they claim, through the code that trains models.

Problems are small enough to list every response, so that optima, divergences and probabilities are
exact. `catalog` holds the checks with their gates, `verify_algorithm` puts your own to the test.
"""

from palate.verify.checks import Check, Gate, Result, above, below, between, prove
from palate.verify.own import verify_algorithm
from palate.verify.worlds import World, tabular_world, text_problem_of, transformer_world

__all__ = [
    "Check",
    "Gate",
    "Result",
    "World",
    "above",
    "below",
    "between",
    "prove",
    "tabular_world",
    "text_problem_of",
    "transformer_world",
    "verify_algorithm",
]
