"""The picture of an experiment: means over the seeds with their spread, a line a setting."""

import math
from typing import TYPE_CHECKING

from pathline.experiments.base import Result, lines_of
from pathline.viz.style import MARKERS, REAL, colours, grid, new_axes, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 12
"""Lines that a legend can name."""


def draw(result: Result, *, ax: "Axes | None" = None) -> "Axes":
    """The value ``y`` over the factor ``x``, bars of one standard deviation; words on the x axis stand side by side."""
    told = result.experiment
    curves = list(lines_of(result))
    words = any(not isinstance(each.factors[told.x], int | float) for _, rows in curves for each in rows)
    places: dict[object, int] = {}
    with style():
        ax = new_axes(ax, 5.6, 3.6)
        grid(ax, "y")
        for i, ((label, rows), colour) in enumerate(zip(curves, colours(len(curves)))):
            if words:
                x = [places.setdefault(each.factors[told.x], len(places)) for each in rows]
            else:
                x = [each.factors[told.x] for each in rows]
            y = [each.mean[told.y] for each in rows]
            bars = [0.0 if math.isnan(each.spread[told.y]) else each.spread[told.y] for each in rows]
            line = "none" if words else "-"
            shape = MARKERS[i % len(MARKERS)]
            ax.errorbar(
                x, y, yerr=bars, color=colour, marker=shape, linestyle=line, capsize=2.0, label=plain(label) or None
            )
        if words:
            ax.set_xticks(range(len(places)), [plain(str(name)) for name in places], rotation=25, ha="right")
        if "x" in told.log and not words:
            _logarithmic(ax, "x")
        if "y" in told.log:
            _logarithmic(ax, "y")
        if told.floor is not None:
            level = sum(each.mean[told.floor] for each in result.summaries()) / len(result.summaries())
            ax.axhline(level, color=REAL, linestyle=(0, (4, 3)), linewidth=1.2, label=f"{told.floor}: {level:.3g}")
        ax.set(xlabel=told.x, ylabel=told.y, title=told.name)
        if 1 < len(curves) <= ROOM:
            ax.legend(fontsize=7.0, ncols=1 + (len(curves) > 6))
    return ax


def _logarithmic(ax: "Axes", which: str) -> None:
    """A logarithmic axis with numbers in full, also between the powers of ten where there is room."""
    from matplotlib.ticker import LogFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.4)))
