"""What is not good yet: rules over an evaluation's numbers, each in plain words with a remedy."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import Field

from palate.evaluation.results import Evaluation, PolicyResult, RewardModelResult
from palate.evaluation.words import difference, interval, percent
from palate.maths.statistics import wilson
from palate.records import Record


class Targets(Record):
    """What counts as good; fractions unless the name says nats."""

    win_rate: float = Field(default=0.6, ge=0, le=1)
    length_drift: float = Field(default=0.25, ge=0)
    kl_nats: float = Field(default=20.0, ge=0)
    eos_rate: float = Field(default=0.95, ge=0, le=1)
    bayes_gap: float = Field(default=0.03, ge=0)
    diversity_kept: float = Field(default=0.6, ge=0, le=1)
    repetition_rise: float = Field(default=0.1, ge=0)
    flip_rate: float = Field(default=0.2, ge=0, le=1)
    invalid_rate: float = Field(default=0.05, ge=0, le=1)
    half_width: float = Field(default=0.07, ge=0)


class Finding(Record):
    """One thing that is not good yet: what was measured, and what to do about it."""

    rule: str
    severity: Literal["problem", "caution"]
    text: str
    remedy: str


def findings(evaluation: Evaluation, targets: Targets | None = None) -> tuple[Finding, ...]:
    """Everything that the rules find, problems first."""
    targets = targets or Targets()
    found = [
        finding
        for policy in evaluation.contenders
        for rule in POLICY_RULES
        for finding in rule(evaluation, policy, targets)
    ]
    found += [f for policy in evaluation.policies for f in _unfinished(policy, targets)]
    if evaluation.reward_model:
        for rule in REWARD_RULES:
            found += rule(evaluation.reward_model, targets)
    found += [*_no_clear_best(evaluation), *_one_seed(evaluation)]
    return tuple(sorted(found, key=lambda finding: finding.severity == "caution"))


def _problem(rule: str, text: str, remedy: str) -> Finding:
    return Finding(rule=rule, severity="problem", text=text, remedy=remedy)


def _caution(rule: str, text: str, remedy: str) -> Finding:
    return Finding(rule=rule, severity="caution", text=text, remedy=remedy)


def _below_target(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    c = p.against_baseline(e.taste)
    if c is None or c.win_rate.low >= t.win_rate:
        return
    won = (
        f"{p.name} wins {interval(c.win_rate)} of comparisons with {e.baseline} judged by {e.taste}"
    )
    more = "Train longer, collect more judgements, or evaluate more prompts."
    if c.win_rate.high < 0.5:
        remedy = "Read its answers, and see what was optimised instead."
        yield _problem("win rate", f"{won}: it is worse than where it started.", remedy)
    elif c.win_rate.low <= 0.5:
        yield _problem("win rate", f"{won}: it cannot be told from where it started.", more)
    else:
        text = f"{won}; the target is a lower bound of {percent(t.win_rate)}."
        yield _caution("win rate", text, more)


def _hacking(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    taste, proxy = p.against_baseline(e.taste), p.against_baseline(e.proxy)
    if not taste or not proxy:
        return
    unpaired = proxy.win_rate.low - taste.win_rate.high
    if (proxy.over_taste.low if proxy.over_taste else unpaired) <= 0:
        return
    text = (
        f"The reward model prefers {p.name} to {e.baseline} in {interval(proxy.win_rate)} of "
        f"comparisons, {e.taste} in only {interval(taste.win_rate)}"
    )
    remedy = "Raise the KL coefficient, stop earlier, or have people judge this policy's answers."
    if proxy.win_rate.low > 0.5 and taste.win_rate.high < 0.5:
        yield _problem("reward hacking", f"{text}: reward went up while taste went down.", remedy)
    else:
        yield _caution("reward hacking", f"{text}: part of the reward is not real.", remedy)


def _length_explains(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    c = p.against_baseline(e.taste)
    if c and c.win_rate.low > 0.5 >= c.length_controlled.low:
        text = (
            f"{p.name} wins {interval(c.win_rate)}, but {interval(c.length_controlled)} once "
            "length is controlled for: length alone may explain the gain."
        )
        yield _caution("length-controlled", text, "Compare at equal length, or penalise length.")


def _length_drift(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    before, after = e.reference.mean_length.estimate, p.mean_length.estimate
    drift = after / before - 1 if before else 0.0
    if abs(drift) > t.length_drift:
        text = (
            f"{p.name} writes {after:.1f} tokens on average where {e.baseline} wrote {before:.1f} "
            f"({100 * drift:+.0f}%)."
        )
        remedy = "Check that people wanted it; otherwise penalise length or balance the data."
        yield _caution("length drift", text, remedy)


def _far_away(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    if p.kl.estimate > t.kl_nats:
        text = (
            f"{p.name} is {p.kl.estimate:.1f} nats from {e.baseline}; above {t.kl_nats:g} is far."
        )
        yield _caution("large KL", text, "Raise the KL coefficient or use a KL budget.")
    if p.kl.high < 0:
        text = (
            f"The KL of {p.name} is negative ({p.kl.estimate:.2f} nats, below 0 beyond its "
            "interval): log-probabilities do not belong to the samples."
        )
        yield _problem("negative KL", text, "Score at the sampling temperature, with top_p = 1.")


def _worse_rows(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    before = {row.name: row for row in (*e.reference.rows, e.reference.sums_right)}
    worse = []
    for row in (*p.rows, p.sums_right):
        old = before.get(row.name)
        if old is None or not (old.n and row.n):
            continue
        unpaired = 2 * math.sqrt(sum(r.value * (1 - r.value) / r.n for r in (old, row)))
        error = row.change.high - row.change.estimate if row.change else unpaired
        change = row.change.estimate if row.change else row.value - old.value
        if -change > max(0.01, error):
            worse.append(f'"{row.name}" from {percent(old.value)} to {percent(row.value)}')
    if worse:
        text = f"{p.name} got worse than {e.baseline} at {', '.join(worse)}."
        yield _problem("row got worse", text, "Collect judgements about what got worse.")


def _diversity(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    before = e.reference
    if p.distinct_2 < t.diversity_kept * before.distinct_2:
        text = (
            f"{p.name} says fewer different things: distinct-2 is {p.distinct_2:.3f}, "
            f"{before.distinct_2:.3f} in {e.baseline}."
        )
        yield _caution("diversity", text, "Raise the KL coefficient or add an entropy bonus.")
    if p.repetition > before.repetition + t.repetition_rise:
        text = (
            f"{p.name} repeats itself: {percent(p.repetition)} of its 4-grams were already "
            f"written in the same answer, {percent(before.repetition)} in {e.baseline}."
        )
        yield _problem(
            "repetition", text, "Have people judge repeated answers; retrain the reward."
        )


def _unsteady_judge(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    for c in p.comparisons:
        if c.flip_rate > t.flip_rate:
            text = f"{c.judge} changed its verdict in {percent(c.flip_rate)} of swapped pairs."
            yield _caution("order", text, "Use a clearer rubric or a stronger judge.")
        judged = c.wins + c.ties + c.losses
        if c.invalid > t.invalid_rate * (judged + c.invalid):
            text = f"{c.judge} gave no verdict on {c.invalid} of {judged + c.invalid} pairs."
            yield _caution("invalid verdicts", text, "Read its raw answers; fix the answer format.")


def _wide(e: Evaluation, p: PolicyResult, t: Targets) -> Iterator[Finding]:
    c = p.against_baseline(e.taste)
    half = (c.win_rate.high - c.win_rate.low) / 2 if c else 0.0
    if c and half > t.half_width:
        need = math.ceil(c.prompts * (half / t.half_width) ** 2 / 10) * 10
        text = (
            f"The win rate of {p.name} is known to +/- {100 * half:.0f} points from {c.prompts} "
            "prompts."
        )
        remedy = f"About {need} prompts give +/- {100 * t.half_width:.0f} points."
        yield _caution("few prompts", text, remedy)


PolicyRule = Callable[[Evaluation, PolicyResult, Targets], Iterator[Finding]]
POLICY_RULES: tuple[PolicyRule, ...] = (
    _below_target,
    _hacking,
    _length_explains,
    _length_drift,
    _far_away,
    _worse_rows,
    _diversity,
    _unsteady_judge,
    _wide,
)


def _unfinished(p: PolicyResult, t: Targets) -> Iterator[Finding]:
    if p.eos_rate < t.eos_rate:
        text = f"Only {percent(p.eos_rate)} of the answers of {p.name} end by themselves."
        yield _problem("unfinished answers", text, "Raise max_tokens or the missing-EOS penalty.")


def _far_from_bayes(r: RewardModelResult, t: Targets) -> Iterator[Finding]:
    if r.bayes_accuracy is not None and r.accuracy.estimate < r.bayes_accuracy - t.bayes_gap:
        text = (
            f"The reward model is right on {interval(r.accuracy)} of held-out pairs; labels this "
            f"noisy allow {percent(r.bayes_accuracy)}."
        )
        yield _problem("reward accuracy", text, "Collect more judgements or use a larger backbone.")


def _only_a_ruler(r: RewardModelResult, t: Targets) -> Iterator[Finding]:
    if r.accuracy.low <= r.length_ruler_accuracy:
        text = (
            f"The reward model ({interval(r.accuracy)}) is not shown to beat a ruler: length "
            f"alone gets {percent(r.length_ruler_accuracy)}."
        )
        yield _problem("length ruler", text, "Balance lengths in the data, or collect more of it.")


def _uncalibrated(r: RewardModelResult, t: Targets) -> Iterator[Finding]:
    if r.ece > r.ece_null_p95:
        text = (
            f"The reward model is miscalibrated: its calibration error is {r.ece:.3f}, and a "
            f"calibrated one would stay below {r.ece_null_p95:.3f} in 95% of samples this size."
        )
        yield _caution("calibration", text, "Train fewer epochs, or rescale its scores.")


def _unlearned_rows(r: RewardModelResult, t: Targets) -> Iterator[Finding]:
    unlearned = [
        f'"{row.name}" ({percent(row.value)} of {row.n})'
        for row in r.probe
        if row.n and wilson(row.value * row.n, row.n).low <= 0.5
    ]
    if unlearned:
        text = (
            "The reward model is not shown to beat a coin on matched pairs that differ only in "
            f"{', '.join(unlearned)}."
        )
        yield _problem("row not learned", text, "Collect judgements about these rows.")


RewardRule = Callable[[RewardModelResult, Targets], Iterator[Finding]]
REWARD_RULES: tuple[RewardRule, ...] = (
    _far_from_bayes,
    _only_a_ruler,
    _uncalibrated,
    _unlearned_rows,
)


def _no_clear_best(e: Evaluation) -> Iterator[Finding]:
    """The best method against the others, on the same prompts: paired differences."""
    rates = {p.name: c.win_rate.low for p in e.contenders if (c := p.against_baseline(e.taste))}
    best = max(rates, key=lambda name: rates[name], default="")
    close = [d for d in e.differences_of(best, e.taste) if d.win_rate.low <= 0]
    if close:
        others = ", ".join(f"{d.other} ({difference(d.win_rate)})" for d in close)
        text = (
            f"{best} is not shown to win more often than {others}: the 95% interval of the paired "
            "difference on the same prompts holds zero."
        )
        yield _caution("no clear best", text, "Evaluate more prompts before choosing one of them.")


def _one_seed(e: Evaluation) -> Iterator[Finding]:
    if len(set(e.seeds)) == 1:
        text = (
            "Every method was trained once: the intervals cover prompts and samples, not the luck "
            "of training, so small differences between methods mean nothing."
        )
        yield _caution("one seed", text, "Run it with five seeds; palate seeds combines them.")
