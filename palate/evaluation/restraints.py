"""What held a policy near: the ratios of its updates against their bounds, and its KL control."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from palate.evaluation.drawing import TEXT, Panel, as_panel, new_axes, smooth, styled
from palate.evaluation.figures import TrainingCurve
from palate.records import Record
from palate.records.ratios import RATIO_BINS, RatioCounts

RAISED, LOWERED = "#e8bf00", "#b4235a"
"""More of this, and less of this: no policy has these colors."""


class StageRatios(Record):
    """How far the counted steps of one stage moved its tokens."""

    name: str
    steps: tuple[RatioCounts, ...]


class KlControl(Record):
    """How one stage held its policy: the rule, the first coefficient, and the target in nats."""

    name: str
    control: Literal["soft", "adaptive", "hard"]
    coef: float
    target: float

    @property
    def sentence(self) -> str:
        """The rule in words."""
        match self.control:
            case "soft":
                return f"soft: every nat away costs {self.coef:g} of reward, from first to last"
            case "adaptive":
                return (
                    f"adaptive: the price of a nat begins at {self.coef:g}, rises while the KL is "
                    f"above its target of {self.target:g}, and falls while it is below"
                )
            case "hard":
                return (
                    f"hard: the KL has a budget of {self.target:g}; the price of a nat rises until "
                    "that is kept, and a step ends when its updates exceed it"
                )


@styled
def ratio_panel(stage: StageRatios) -> Panel:
    """Tokens by their ratio pi / pi_old over all counted steps, on a logarithmic scale."""
    last = stage.steps[-1]
    figure, axes = new_axes()
    edges = np.array(last.edges)
    raised, lowered = (
        np.array([getattr(step, side) for step in stage.steps]).sum(axis=0)
        for side in ("raised", "lowered")
    )
    low, high = edges[RATIO_BINS // 2 - 4], edges[RATIO_BINS // 2 + 5]
    half = np.diff(edges) / 2
    axes.bar(edges[:-1], raised, width=half, align="edge", color=RAISED)
    axes.bar(edges[:-1] + half, lowered, width=half, align="edge", color=LOWERED)
    axes.set_ylim(0.7, 1.5 * max(2, raised.max(), lowered.max()))  # where no token has moved, too
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    for bound in (low, high):
        axes.axvline(bound, color=TEXT, lw=1.4, ls=(0, (4, 3)))
    axes.axvspan(high, edges[-1], color=RAISED, alpha=0.12, lw=0, zorder=0)
    axes.axvspan(edges[0], low, color=LOWERED, alpha=0.12, lw=0, zorder=0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xticks([low, 1.0, high], [f"{tick:g}" for tick in (round(low, 6), 1, round(high, 6))])
    axes.set_xlabel("ratio: probability after / before the updates")
    axes.set_ylabel("tokens")
    return as_panel(figure, f"Ratios of {stage.name} against its bounds")


@styled
def control_panels(
    curves: Sequence[TrainingCurve], controls: Sequence[KlControl], colors: Mapping[str, str]
) -> tuple[Panel, ...]:
    """KL with its targets, and the coefficient that answers it; none if all coefficients stay."""
    if all(control.control == "soft" for control in controls):
        return ()
    by_name = {control.name: control for control in controls}
    panels = []
    for metric, title, unit in (
        ("kl/policy_reference", "KL from the reference, and its target", "nats per response"),
        ("kl/coef", "The price of a nat (coefficient)", "reward per nat"),
    ):
        figure, axes = new_axes()
        for curve in curves:
            control, (steps, values) = by_name.get(curve.name), curve.series(metric)
            if not control or not values:
                continue
            color = colors.get(curve.name, TEXT)
            axes.plot(steps, smooth(values), color=color, lw=1.6)
            if metric == "kl/policy_reference" and control.control != "soft":
                axes.axhline(control.target, color=color, lw=1, ls=(0, (4, 3)))
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        panels.append(as_panel(figure, title))
    return tuple(panels)
