"""One recipe under several seeds: how much of a result is the luck of training.

Agarwal et al. 2021 (arXiv:2108.13264): few runs want intervals over runs, not point estimates. With
so few, those of Student's t cover where a bootstrap's percentiles are too narrow.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from operator import sub

import numpy as np
from rich.table import Table

from palate.evaluation.results import Estimate, Evaluation, PolicyResult
from palate.evaluation.words import difference, percent
from palate.maths.statistics import clustered_mean
from palate.records import Record


class Spread(Record):
    """A quantity over training runs: its mean with a t interval, and its deviation between runs.

    >>> spread([0.6, 0.7, 0.8]).deviation
    0.1
    """

    mean: Estimate
    deviation: float
    values: tuple[float, ...]


class JudgedSpread(Record):
    """A win rate against the baseline, or a mean score, under one judge over all runs."""

    judge: str
    spread: Spread


class Method(Record):
    """One method over all runs; the KL is KL(method || baseline) in nats, the length in tokens."""

    name: str
    win_rates: tuple[JudgedSpread, ...]
    scores: tuple[JudgedSpread, ...]
    kl: Spread
    length: Spread


class Gap(Record):
    """A method's win rate minus another's, taken within each run, under the taste."""

    method: str
    other: str
    win_rate: Spread


class SeveralSeeds(Record):
    """All methods of one recipe under several seeds; the baseline comes first."""

    baseline: str
    taste: str
    runs: tuple[str, ...]
    methods: tuple[Method, ...]
    gaps: tuple[Gap, ...]


def spread(values: Sequence[float]) -> Spread:
    """Mean, t interval over runs and sample standard deviation of one number per run."""
    return Spread(
        mean=clustered_mean(values, range(len(values))),
        deviation=round(float(np.std(values, ddof=1)), 12),
        values=tuple(values),
    )


def combined(evaluations: Sequence[Evaluation], runs: Sequence[str]) -> SeveralSeeds:
    """The evaluations of several runs, method by method; they must be about the same methods."""
    first = evaluations[0]
    for evaluation, run in zip(evaluations, runs, strict=True):
        if _about(evaluation) != _about(first):
            raise ValueError(
                f"{run} evaluated {_about(evaluation)}, and {runs[0]} {_about(first)}. Remedy: "
                "combine runs of one recipe"
            )
    names = [policy.name for policy in first.policies]
    methods = tuple(
        _method([e.policies[index] for e in evaluations], first.judges)
        for index in range(len(names))
    )
    rates = {m.name: m.win_rates[0].spread.values for m in methods if m.win_rates}
    gaps = tuple(
        Gap(method=one, other=other, win_rate=spread(list(map(sub, rates[one], rates[other]))))
        for one, other in combinations(rates, 2)
    )
    return SeveralSeeds(
        baseline=first.baseline, taste=first.taste, runs=tuple(runs), methods=methods, gaps=gaps
    )


def tables(several: SeveralSeeds) -> tuple[Table, Table]:
    """For the terminal: every method, and the differences between methods."""
    title = f"Against {several.baseline}, {len(several.runs)} training runs of one recipe"
    judges = [score.judge for score in several.methods[0].scores]
    methods = Table(title=title, caption="mean [95% interval over runs] +- deviation between runs")
    methods.add_column("policy", style="bold", no_wrap=True)
    for header in (*(f"win rate, {judge}" for judge in judges), "KL (nats)", "length (tokens)"):
        methods.add_column(header, justify="right")
    for method in several.methods:
        rates = [_rate(one.spread) for one in method.win_rates] or ["-"] * len(judges)
        methods.add_row(method.name, *rates, _number(method.kl), _number(method.length))
    gaps = Table(title=f"Win rate by {several.taste}, differences within each run")
    for header in ("policy", "minus", "difference"):
        gaps.add_column(header, no_wrap=True)
    for gap in several.gaps:
        gaps.add_row(gap.method, gap.other, difference(gap.win_rate.mean))
    return methods, gaps


def _about(evaluation: Evaluation) -> str:
    names = ", ".join(policy.name for policy in evaluation.policies)
    return f"{names} by {', '.join(evaluation.judges)}"


def _method(results: Sequence[PolicyResult], judges: Sequence[str]) -> Method:
    def judged(
        of: Callable[[PolicyResult, str], float | None],
    ) -> tuple[JudgedSpread, ...]:
        values = {judge: [of(result, judge) for result in results] for judge in judges}
        return tuple(
            JudgedSpread(judge=judge, spread=spread([v for v in row if v is not None]))
            for judge, row in values.items()
            if None not in row
        )

    return Method(
        name=results[0].name,
        win_rates=judged(_win_rate),
        scores=judged(_score),
        kl=spread([result.kl.estimate for result in results]),
        length=spread([result.mean_length.estimate for result in results]),
    )


def _win_rate(result: PolicyResult, judge: str) -> float | None:
    comparison = result.against_baseline(judge)
    return comparison.win_rate.estimate if comparison else None


def _score(result: PolicyResult, judge: str) -> float | None:
    score = result.score(judge)
    return score.estimate if score else None


def _rate(over: Spread) -> str:
    low, high = 100 * max(0.0, over.mean.low), 100 * min(1.0, over.mean.high)
    return f"{percent(over.mean.estimate)} [{low:.1f}, {high:.1f}] +- {100 * over.deviation:.1f}"


def _number(over: Spread) -> str:
    mean = over.mean
    return f"{mean.estimate:.2f} [{mean.low:.2f}, {mean.high:.2f}] +- {over.deviation:.2f}"
