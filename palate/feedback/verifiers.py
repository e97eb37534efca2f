"""Verifiers: rewards that a computer can check against the prompt's reference answer."""

from collections.abc import Callable
from functools import cache

from palate.feedback.mathematics.grader import Grader
from palate.worlds.cafe import verify_amount

GRADER = Grader()
"""The grader of `verifier:math`; its process starts with the first answer."""


def exact(prompt: str, response: str, reference: str) -> float:
    """1 when the response is the reference, up to surrounding white space."""
    return float(bool(reference) and response.strip() == reference.strip())


def contains(prompt: str, response: str, reference: str) -> float:
    """1 when the reference stands in the response, letter case aside."""
    return float(bool(reference) and reference.casefold() in response.casefold())


def mathematics(prompt: str, response: str, reference: str) -> float:
    """1 when the answer that the response gives equals the reference; what cannot be graded in
    `CPU_SECONDS` earns 0."""
    return float(bool(reference) and GRADER.right(reference, response) is True)


VERIFIERS: dict[str, Callable[[str, str, str], float]] = {
    "exact": exact,
    "contains": contains,
    "math": mathematics,
    "cafe": verify_amount,
}

_COMPLAINTS: dict[str, Callable[[str], str]] = {"math": cache(GRADER.complaint)}


def complaint(verifier: str, reference: str) -> str:
    """Why a verifier could never reward anything against a reference; empty when it could."""
    said = _COMPLAINTS.get(verifier)
    return said(reference) if said and reference else ""
