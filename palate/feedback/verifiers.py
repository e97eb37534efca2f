"""Verifiers: rewards that a computer can check against the prompt's reference answer."""

from palate.feedback.scorers import RewardFunction
from palate.worlds.cafe import verify_amount


def exact(prompt: str, response: str, reference: str) -> float:
    """1 when the response is the reference, up to surrounding white space."""
    return float(bool(reference) and response.strip() == reference.strip())


def contains(prompt: str, response: str, reference: str) -> float:
    """1 when the reference stands in the response, letter case aside."""
    return float(bool(reference) and reference.casefold() in response.casefold())


def mathematics(prompt: str, response: str, reference: str) -> float:
    """1 when the last mathematical answer in the response equals the reference (math-verify)."""
    from math_verify import parse, verify

    return float(bool(verify(parse(reference), parse(response))))


VERIFIERS: dict[str, RewardFunction] = {
    "exact": exact,
    "contains": contains,
    "math": mathematics,
    "cafe": verify_amount,
}
