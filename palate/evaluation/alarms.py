"""What goes wrong while a stage trains: rules over the metrics that have grown so far.

The table is that of docs/metrics.md; what an evaluation also measures has the targets of findings.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal

from palate.config.common import KlConfig
from palate.evaluation.findings import Finding, Targets
from palate.evaluation.words import percent
from palate.records import Record
from palate.records.trust import TRUST_REMEDY, TrustRecord, complaint

LATELY = 5
"""Steps whose mean is what a metric is lately, and what it was at first."""

_TARGETS = Targets()
_SOFT = KlConfig()


class Bound(Record):
    """What a metric has to keep to lately, from its value number `after` on."""

    rule: str
    metric: str
    low: float = -math.inf
    high: float = math.inf
    after: int = LATELY
    severity: Literal["problem", "caution"] = "caution"
    meaning: str
    remedy: str


BOUNDS = (
    Bound(
        rule="large steps",
        metric="policy/clip_fraction",
        high=0.3,
        meaning="steps are too large",
        remedy="Lower the learning rate, or make fewer updates per step.",
    ),
    Bound(
        rule="large steps",
        metric="kl/old_policy",
        high=0.1,
        meaning="steps are too large",
        remedy="Lower the learning rate, or make fewer updates per step.",
    ),
    Bound(
        rule="sampler mismatch",
        metric="policy/sampler_mismatch",
        high=0.01,
        after=1,
        severity="problem",
        meaning="generation and scoring disagree",
        remedy='Set compute.precision = "fp32".',
    ),
    Bound(
        rule="unfinished answers",
        metric="response/finished",
        low=_TARGETS.eos_rate,
        meaning="responses run into max_tokens",
        remedy="Raise max_tokens or missing_eos_penalty.",
    ),
    Bound(
        rule="large KL",
        metric="kl/policy_reference",
        high=_TARGETS.kl_nats,
        meaning="the policy is far from where it started",
        remedy="Raise the KL coefficient or use a KL budget.",
    ),
    Bound(
        rule="dead groups",
        metric="group/dead_fraction",
        high=0.9,
        meaning="there is nothing to compare",
        remedy="Ask harder or easier prompts, or set resample_rounds.",
    ),
    Bound(
        rule="flat reward",
        metric="reward/score_std",
        low=1e-6,
        after=1,
        severity="problem",
        meaning="the reward does not tell responses apart",
        remedy="Look at what it reads.",
    ),
    Bound(
        rule="critic",
        metric="critic/explained_variance",
        low=0.0,
        after=2 * LATELY,
        meaning="the critic is worse than a constant",
        remedy="Raise the critic's learning rate, or give it more epochs.",
    ),
    Bound(
        rule="a coin",
        metric="dpo/accuracy",
        low=0.5,
        after=2 * LATELY,
        meaning="nothing is learned",
        remedy="Check which responses are the chosen ones, then the learning rate.",
    ),
    Bound(
        rule="a coin",
        metric="reward/accuracy",
        low=0.5,
        after=2 * LATELY,
        meaning="nothing is learned",
        remedy="Check which responses are the chosen ones, then the learning rate.",
    ),
)


class Course:
    """The finite values of every metric, in the order in which they were logged."""

    def __init__(self, lines: Sequence[Mapping[str, float]]) -> None:
        self.values: dict[str, list[float]] = {}
        for line in lines:
            for name, value in line.items():
                if math.isfinite(value):
                    self.values.setdefault(name, []).append(value)

    def lately(self, metric: str) -> float:
        """The mean of the last few values; not a number where there are none."""
        values = self.values.get(metric, ())[-LATELY:]
        return fmean(values) if values else math.nan

    def at_first(self, metric: str) -> float:
        """The mean of the first few values, while there are as many others; else not a number."""
        values = self.values.get(metric, ())
        return fmean(values[:LATELY]) if len(values) >= 2 * LATELY else math.nan


def alarms(
    lines: Sequence[Mapping[str, float]],
    *,
    kl: KlConfig = _SOFT,
    trust: TrustRecord | None = None,
) -> tuple[Finding, ...]:
    """What is wrong with a stage that logged these lines, problems first.

    `kl` is the control under which it trains, `trust` what it found out about itself.
    """
    course = Course(lines)
    found = [
        *_not_finite(lines),
        *_distrusted(trust),
        *(finding for bound in BOUNDS for finding in _out_of_bounds(course, bound)),
        *_above_target(course, kl),
        *_running_away(course),
        *_negative_kl(course),
        *_collapsed(course),
        *_bought(course),
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity == "caution"))


def _not_finite(lines: Sequence[Mapping[str, float]]) -> Iterator[Finding]:
    for line in lines:
        broken = [name for name, value in line.items() if not math.isfinite(value)]
        if broken:
            yield Finding(
                rule="not a number",
                severity="problem",
                text=f"{', '.join(broken)}: no finite number at step {line['step']:.0f}.",
                remedy="Lower the learning rate, and look at the scores of that step.",
            )
            return


def _distrusted(trust: TrustRecord | None) -> Iterator[Finding]:
    for check in trust.missed if trust else ():
        remedy = f"{TRUST_REMEDY[0].upper()}{TRUST_REMEDY[1:]}."
        yield Finding(
            rule="trust record", severity="problem", text=f"{complaint(check)}.", remedy=remedy
        )


def _out_of_bounds(course: Course, bound: Bound) -> Iterator[Finding]:
    value = course.lately(bound.metric)
    if len(course.values.get(bound.metric, ())) < bound.after:
        return
    side, limit = ("below", bound.low) if value < bound.low else ("above", bound.high)
    if not bound.low <= value <= bound.high:
        text = f"{bound.metric} is {value:.3g} lately; {side} {limit:g}, {bound.meaning}."
        yield Finding(rule=bound.rule, severity=bound.severity, text=text, remedy=bound.remedy)


def _above_target(course: Course, kl: KlConfig) -> Iterator[Finding]:
    """A budget holds on average; Ziegler's controller moves around its target."""
    if kl.control == "soft":
        return
    slack = 1.0 if kl.control == "hard" else 1.5
    value = course.lately("kl/policy_reference")
    if value > slack * kl.target:
        text = f"kl/policy_reference is {value:.3g} nats lately; its target is {kl.target:g}."
        remedy = "Lower the learning rate, or let the coefficient move faster."
        yield Finding(rule="KL target", severity="caution", text=text, remedy=remedy)


def _running_away(course: Course) -> Iterator[Finding]:
    values = course.values.get("kl/policy_reference", ())[-2 * LATELY :]
    if len(values) < 2 * LATELY:
        return
    before, now = fmean(values[:LATELY]), fmean(values[LATELY:])
    if now > max(2 * before, _TARGETS.kl_nats / 2):
        text = f"kl/policy_reference went from {before:.3g} to {now:.3g} nats within ten steps."
        remedy = "Lower the learning rate or raise the KL coefficient."
        yield Finding(rule="KL runs away", severity="problem", text=text, remedy=remedy)


def _negative_kl(course: Course) -> Iterator[Finding]:
    values = course.values.get("kl/policy_reference", ())[-2 * LATELY :]
    if len(values) < 2 * LATELY:
        return
    mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
    if mean + 3 * error < -1e-3:
        text = f"kl/policy_reference is {mean:.3g} nats, below 0 beyond noise."
        remedy = "Log-probabilities do not belong to the samples: sample with top_p = 1."
        yield Finding(rule="negative KL", severity="problem", text=text, remedy=remedy)


def _collapsed(course: Course) -> Iterator[Finding]:
    first, now = course.at_first("policy/entropy"), course.lately("policy/entropy")
    if now < 0.2 * first:
        text = f"policy/entropy fell from {first:.3g} to {now:.3g} nats: one answer for everything."
        remedy = "Raise the KL coefficient or entropy_coef, or stop earlier."
        yield Finding(rule="entropy collapse", severity="caution", text=text, remedy=remedy)


def _bought(course: Course) -> Iterator[Finding]:
    """The score rose by half of its first deviation, and something else went wrong meanwhile."""
    first, now = course.at_first("reward/score"), course.lately("reward/score")
    if not now - first > 0.5 * course.at_first("reward/score_std"):
        return
    kl, ended = course.lately("kl/policy_reference"), course.lately("response/finished")
    before, length = course.at_first("response/length"), course.lately("response/length")
    finished = course.at_first("response/finished")
    prices = [f"the KL is {kl:.3g} nats"] if kl > _TARGETS.kl_nats else []
    if ended < finished - 0.05:
        was = percent(finished)
        prices.append(f"{percent(ended)} of responses end by themselves instead of {was}")
    if abs(length - before) > _TARGETS.length_drift * before:
        prices.append(f"responses went from {before:.3g} to {length:.3g} tokens")
    if prices:
        text = f"The score rose from {first:.3g} to {now:.3g} while {', and '.join(prices)}."
        remedy = "Read the samples, and send some to people: the reward may be exploited."
        yield Finding(rule="reward at a price", severity="caution", text=text, remedy=remedy)
