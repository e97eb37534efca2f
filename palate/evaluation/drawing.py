"""How every figure looks, and how it becomes SVG that takes the colors of the page it is in."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palate.maths.statistics import Interval

TEXT = "#777777"
"""Stands for the page's text color until the SVG is written."""
GRID = "#80808033"

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}
styled = mpl.rc_context(STYLE)  # pyright: ignore[reportArgumentType]
"""Decorates whatever draws."""
WIDTH, HEIGHT = 4.4, 3.0
"""Inches of a panel: two stand side by side on a page, one fills a telephone."""


class Panel(NamedTuple):
    """One figure as SVG and the sentence that names it."""

    title: str
    svg: str


def new_axes(*, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of that many inches with one pair of axes; a point is a pixel."""
    figure = Figure(figsize=(width, height), dpi=72, layout="constrained")
    return figure, figure.add_subplot()


def cross(axes: Axes, x: Interval, y: Interval, *, color: str, marker: str) -> None:
    """A point with its interval in both directions."""
    axes.errorbar(
        max(x.estimate, 0.0),
        y.estimate,
        xerr=reach(x),
        yerr=reach(y),
        color=color,
        marker=marker,
        ms=6,
        lw=1.4,
    )


def reach(value: Interval) -> list[list[float]]:
    """How far an interval reaches below and above its estimate, never negative by rounding."""
    return [[max(0.0, value.estimate - value.low)], [max(0.0, value.high - value.estimate)]]


def name_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    colors: Mapping[str, str],
) -> None:
    """Write each point's name at the first of four corners where it covers no point and no name."""
    figure.draw_without_rendering()
    boxes = []
    for x, y, _ in points:
        px, py = axes.transData.transform((x, y))
        boxes.append((px - 5, py - 5, px + 5, py + 5))
    for x, y, name in points:
        px, py = axes.transData.transform((x, y))
        width = 6.0 * len(short(name))
        corners = [(7.0, 4.0), (7.0, -12.0), (-7.0 - width, 4.0), (-7.0 - width, -12.0)]
        spots = [(dx, dy, (px + dx, py + dy, px + dx + width, py + dy + 9)) for dx, dy in corners]
        free = [spot for spot in spots if not any(_overlap(spot[2], box) for box in boxes)]
        dx, dy, box = (free or spots)[0]
        boxes.append(box)
        axes.annotate(
            short(name),
            (x, y),
            (dx, dy),
            textcoords="offset points",
            color=colors[name],
            weight="bold",
        )


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def smooth(values: Sequence[float]) -> np.ndarray:
    """A centered moving average over a twelfth of the curve, shorter at its ends."""
    half = len(values) // 24
    kernel = np.ones(2 * half + 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def short(name: str, width: int = 18) -> str:
    """A name that fits into a figure."""
    return name if len(name) <= width else name[: width - 3] + "..."


def as_panel(figure: Figure, title: str) -> Panel:
    """The figure as inline SVG: labeled, without size, ids, prolog or metadata."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = html.escape(title, quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}" stroke-linejoin="round"', 1)
    return Panel(title, re.sub(r"\n\s*", "\n", svg.replace(TEXT, "currentColor")))
