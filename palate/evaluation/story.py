"""The story of a run, told first on its page: who won, one answer before and after, what KL is."""

import math
from typing import NamedTuple

from palate.evaluation.results import Answer, Evaluation, PolicyResult, Sample
from palate.evaluation.words import percent


class BeforeAfter(NamedTuple):
    """One held-out prompt, the baseline's answer and the best policy's, and how it was chosen."""

    prompt: str
    before: Answer
    after: Answer
    rule: str


def best_policy(evaluation: Evaluation) -> PolicyResult | None:
    """The trained policy whose win rate under the taste has the highest lower end; None: none has.

    Best-of-n, which is the baseline asked many times, counts only where nothing was trained.
    """
    rated = [
        (policy.kl_method == "k1", comparison.win_rate.low, policy)
        for policy in evaluation.contenders
        if (comparison := policy.against_baseline(evaluation.taste))
    ]
    return max(rated, key=lambda row: row[:2])[2] if rated else None


def headline(evaluation: Evaluation) -> str:
    """The best policy by the lower end of its win rate under the taste, in one sentence."""
    policy = best_policy(evaluation)
    best = policy.against_baseline(evaluation.taste) if policy else None
    if policy is None or best is None:
        return f"Only {evaluation.baseline} was evaluated: there is nothing to compare it with."
    return (
        f"{policy.name} wins {percent(best.win_rate.estimate)} of comparisons with {best.baseline} "
        f"judged by {best.judge} (95% interval {100 * best.win_rate.low:.1f} to "
        f"{100 * best.win_rate.high:.1f}, {best.prompts} held-out prompts), "
        f"{_at_most(policy)}{policy.kl.estimate:.1f} nats away from it."
    )


def distance_in_words(evaluation: Evaluation) -> str:
    """What the headline's nats mean; empty where there is no distance to speak of."""
    policy = best_policy(evaluation)
    if policy is None or policy.kl.estimate <= 0:
        return ""
    times = f"{math.exp(policy.kl.estimate):.1f}" if policy.kl.estimate < 10 else "over 20,000"
    return (
        f"A nat measures distance (KL): at {policy.kl.estimate:.1f} nats, an answer of "
        f"{policy.name} is typically {_at_most(policy)}{times} times as likely to come from "
        f"{policy.name} as from {evaluation.baseline} (e to the power of the nats)."
    )


def before_after(evaluation: Evaluation) -> BeforeAfter | None:
    """The best policy's answer beside the baseline's, to the prompt where the gain is the median.

    Of an even number the lower of the two in the middle; without scores the first prompt.
    """
    policy = best_policy(evaluation)
    if policy is None:
        return None
    pairs = [
        (sample, before, after)
        for sample in evaluation.samples
        if (before := _answer(sample, evaluation.baseline))
        and (after := _answer(sample, policy.name))
    ]
    taste = evaluation.taste
    scored = [
        (new - old, sample, before, after)
        for sample, before, after in pairs
        if (old := before.score(taste)) is not None and (new := after.score(taste)) is not None
    ]
    if scored:
        scored.sort(key=lambda row: row[0])
        gain, sample, before, after = scored[(len(scored) - 1) // 2]
        rule = (
            f"Chosen by a rule: of the {len(scored)} prompts below, the one where the score by "
            f"{taste} changed by the median ({gain:+.2f}), so half of them gained no less."
        )
        return BeforeAfter(sample.prompt, before, after, rule)
    if not pairs:
        return None
    sample, before, after = pairs[0]
    return BeforeAfter(sample.prompt, before, after, "Chosen by a rule: the first prompt below.")


def _answer(sample: Sample, policy: str) -> Answer | None:
    return next((answer for answer in sample.answers if answer.policy == policy), None)


def _at_most(policy: PolicyResult) -> str:
    return "at most " if policy.kl_method == "bound" else ""
