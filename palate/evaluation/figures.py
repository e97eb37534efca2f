"""Figures of an evaluation as SVG: transparent, in the page's text color, one color per policy."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palate.evaluation.drawing import (
    HEIGHT,
    TEXT,
    WIDTH,
    Panel,
    as_panel,
    cross,
    name_points,
    new_axes,
    reach,
    short,
    smooth,
    styled,
)
from palate.evaluation.results import Evaluation, RewardModelResult
from palate.maths.statistics import Interval
from palate.records import Record

MARKERS = ("o", "s", "^", "D", "v", "P")
BASELINE_COLOR = "#8c8c8c"
COLORS = ("#3d8fd1", "#d9622b", "#1fa37a", "#c77bb0", "#b08a1e", "#7a6fd0")
"""Told apart by every common color blindness, and at least 3:1 on white and on near-black."""


class TrainingCurve(Record):
    """The metrics of one stage: each step's own names and values, with its number under "step"."""

    name: str
    stage: str
    steps: tuple[dict[str, float], ...]

    def series(self, metric: str) -> tuple[list[float], list[float]]:
        """(steps, values) where the metric was logged."""
        points = [(row["step"], row[metric]) for row in self.steps if metric in row]
        return [step for step, _ in points], [value for _, value in points]


class Metric(NamedTuple):
    """A logged quantity that is worth a curve."""

    name: str
    title: str
    unit: str


METRICS = (
    Metric("reward/score", "Score by the reward model", "score"),
    Metric("kl/policy_reference", "KL from the reference", "nats per response"),
    Metric("response/length", "Response length", "tokens"),
    Metric("policy/entropy", "Entropy of the policy", "nats per token"),
    Metric("policy/clip_fraction", "Tokens whose ratio was clipped", "fraction"),
    Metric("critic/explained_variance", "Returns explained by the critic", "fraction"),
    Metric("reward/accuracy", "Reward model: pairs ranked right", "fraction"),
    Metric("dpo/accuracy", "DPO: pairs ranked right", "fraction"),
    Metric("dpo/margin", "DPO: implicit reward margin", "nats x beta"),
)


def policy_colors(evaluation: Evaluation) -> dict[str, str]:
    """A color for every policy; the baseline is gray."""
    names = [policy.name for policy in evaluation.contenders]
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    return {evaluation.baseline: BASELINE_COLOR} | colors


def frontier(evaluation: Evaluation, curves: Sequence[TrainingCurve]) -> tuple[Panel, ...]:
    """Mean score against KL from the baseline, a panel per judge; the x axis is sqrt(KL).

    Gao et al. 2022 (arXiv:2210.10760). Under the reward model, training curves run to the policies
    that came of them; the dashed line is best-of-n at its KL bound.
    """
    return tuple(_frontier(evaluation, judge, curves) for judge in evaluation.judges)


@styled
def _frontier(evaluation: Evaluation, judge: str, curves: Sequence[TrainingCurve]) -> Panel:
    colors = policy_colors(evaluation)
    figure, axes = new_axes()
    axes.set_xscale("function", functions=(_signed_sqrt, _signed_square))
    if judge == evaluation.proxy:
        for curve in curves:
            _, kl = curve.series("kl/policy_reference")
            _, scores = curve.series("reward/score")
            if scores and len(kl) == len(scores):
                color = colors.get(curve.name, BASELINE_COLOR)
                axes.plot(np.maximum(smooth(kl), 0), smooth(scores), color=color, lw=1, alpha=0.55)
    _best_of_n_line(axes, evaluation, judge)
    ends = []
    for policy, marker in zip(evaluation.policies, _markers(evaluation), strict=True):
        score = policy.score(judge)
        if score:
            cross(axes, policy.kl, score, color=colors[policy.name], marker=marker)
            ends.append((max(policy.kl.estimate, 0.0), score.estimate, policy.name))
    axes.set_xlabel(f"KL from {short(evaluation.baseline)}, nats (square-root scale)")
    axes.set_ylabel("mean score")
    axes.set_xlim(left=0)
    _kl_ticks(axes)
    name_points(figure, axes, ends, colors)
    whose = "the reward model" if judge == evaluation.proxy else judge
    return as_panel(figure, f"Score by {whose} against KL")


def _best_of_n_line(axes: Axes, evaluation: Evaluation, judge: str) -> None:
    points = [(best, best.score(judge)) for best in evaluation.best_of_n]
    points = [(best, score) for best, score in points if score]
    if not points:
        return
    kl = [best.kl_bound for best, _ in points]
    mean = [score.estimate for _, score in points]
    axes.plot(kl, mean, color=TEXT, lw=1, ls=(0, (4, 3)), marker=".", ms=4)
    for (best, _), x, y in zip(points, kl, mean, strict=True):
        if best.n > 1:
            axes.annotate(
                f"n={best.n}", (x, y), (-3, 3), textcoords="offset points", ha="right", fontsize=7
            )


def _kl_ticks(axes: Axes) -> None:
    high = max(axes.get_xlim()[1], 0.1)
    ticks = [0.0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]
    ticks = [tick for tick in ticks if tick <= high and (tick == 0 or tick > high / 60)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _signed_sqrt(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.square(x)


@styled
def training_curves(evaluation: Evaluation, curves: Sequence[TrainingCurve]) -> tuple[Panel, ...]:
    """A small panel per quantity that some stage logged, all stages together."""
    colors = policy_colors(evaluation)
    panels = []
    for metric in METRICS:
        drawn = [(curve, *curve.series(metric.name)) for curve in curves]
        drawn = [(curve, steps, values) for curve, steps, values in drawn if values]
        if not drawn:
            continue
        figure, axes = new_axes(width=3.4, height=2.2)
        for curve, steps, values in drawn:
            color = colors.get(curve.name, BASELINE_COLOR)
            axes.plot(steps, values, color=color, lw=0.8, alpha=0.3)
            axes.plot(steps, smooth(values), color=color, lw=1.6)
        axes.set_xlabel("step")
        axes.set_ylabel(metric.unit)
        axes.locator_params(nbins=5)
        panels.append(as_panel(figure, metric.title))
    return tuple(panels)


@styled
def reliability(reward_model: RewardModelResult) -> Panel:
    """Share of right preferences against confidence, with the number of pairs per bin below."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=72, layout="constrained")
    axes, counts = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    axes.plot([0.5, 1], [0.5, 1], color=TEXT, lw=1, ls=(0, (4, 3)))
    for b in reward_model.bins:
        cross(
            axes,
            Interval(b.predicted, b.predicted, b.predicted),
            b.observed,
            color=COLORS[0],
            marker="o",
        )
    axes.set_ylabel("right")
    axes.tick_params(labelbottom=False)
    predicted = [b.predicted for b in reward_model.bins]
    counts.bar(predicted, [b.n for b in reward_model.bins], width=0.03, color=COLORS[0], alpha=0.5)
    counts.set_xlabel("confidence of the reward model")
    counts.set_ylabel("pairs")
    counts.locator_params(axis="y", nbins=2)
    for panel in (axes, counts):
        panel.set_xlim(0.49, 1.01)
    return as_panel(figure, "Reliability on held-out preferences")


@styled
def rows_before_after(evaluation: Evaluation) -> Panel:
    """Every row of the taste: a gray tick where the baseline is, a line to where each policy is."""
    colors, before = policy_colors(evaluation), evaluation.measured_rows
    policies = evaluation.contenders
    band = len(policies) + 1
    figure, axes = new_axes(height=0.5 + 0.14 * band * len(before))
    for i, row in enumerate(before):
        top = -i * band
        axes.plot(
            [row.value] * 2, [top + 0.5, top - len(policies) + 0.5], color=BASELINE_COLOR, lw=2
        )
        for j, (policy, marker) in enumerate(zip(policies, _markers(evaluation)[1:], strict=True)):
            after = next((r.value for r in policy.rows if r.name == row.name and r.n), None)
            if after is not None:
                color = colors[policy.name]
                axes.plot([row.value, after], [top - j] * 2, color=color, lw=1.4)
                axes.plot(after, top - j, color=color, marker=marker, ms=5)
    middles = [-i * band - (len(policies) - 1) / 2 for i in range(len(before))]
    axes.set_yticks(middles, [textwrap.fill(short(row.name, 40), 18) for row in before])
    axes.grid(visible=False, axis="y")
    _percent_axis(axes)
    axes.set_xlabel("mean over responses")
    return as_panel(figure, f"Rows of the taste, from {evaluation.baseline}")


@styled
def win_rates(evaluation: Evaluation) -> Panel:
    """Win rates with intervals: filled under the taste, hollow under the reward model."""
    colors, policies = policy_colors(evaluation), evaluation.contenders
    figure, axes = new_axes(height=0.75 + 0.42 * len(policies))
    axes.axvline(0.5, color=TEXT, lw=1)
    for i, policy in enumerate(policies):
        for judge, lift in zip(evaluation.judges, (0.13, -0.17), strict=False):
            comparison = policy.against_baseline(judge)
            if comparison:
                rate = comparison.win_rate
                color = colors[policy.name]
                face = color if judge == evaluation.taste else "none"
                axes.errorbar(
                    rate.estimate, lift - i, xerr=reach(rate), color=color, mfc=face,
                    marker=_markers(evaluation)[i + 1], ms=6, lw=1.6,
                )  # fmt: skip
    axes.set_yticks([-i for i in range(len(policies))], [short(policy.name) for policy in policies])
    axes.set_ylim(-len(policies) + 0.45, 0.55)
    axes.grid(visible=False, axis="y")
    _percent_axis(axes)
    baseline = short(evaluation.baseline)
    hollow = f"; hollow: {short(evaluation.proxy)}" if evaluation.proxy else ""
    axes.set_xlabel(f"won against {baseline} (filled: {short(evaluation.taste)}{hollow})")
    return as_panel(figure, f"Win rate against {evaluation.baseline}")


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(-0.02, 1.02)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [f"{100 * tick:.0f}%" for tick in ticks])


def _markers(evaluation: Evaluation) -> list[str]:
    """One marker per policy, the baseline's first."""
    return [MARKERS[i % len(MARKERS)] for i in range(len(evaluation.policies))]
