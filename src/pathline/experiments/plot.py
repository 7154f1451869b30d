"""The picture of an experiment: means over the seeds with their spread, a line a setting."""

import math
from typing import TYPE_CHECKING, Any

from pathline.experiments.base import Result, lines_of
from pathline.viz.style import MARKERS, REAL, colours, grid, log_axis, new_axes, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 12
"""Lines that a legend can name, and words that an axis can hold lying down."""


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
            turn: dict[str, Any] = {"rotation": 25, "ha": "right"} if len(places) <= ROOM else {"rotation": 90}
            ax.set_xticks(range(len(places)), [plain(str(name)) for name in places], **turn)
        if told.floor is not None:
            level = sum(each.mean[told.floor] for each in result.summaries()) / len(result.summaries())
            ax.axhline(level, color=REAL, linestyle=(0, (4, 3)), linewidth=1.2, label=f"{told.floor}: {level:.3g}")
        reach = ax.dataLim  # with the bars, which may reach below 0
        if "x" in told.log and not words:
            log_axis(ax, "x", reach.x0, reach.x1, sorted({each.factors[told.x] for each in result.summaries()}))
        if "y" in told.log:
            log_axis(ax, "y", max(reach.y0, reach.minposy), reach.y1)
        ax.set(xlabel=told.x, ylabel=told.y, title=told.name)
        if 1 < len(curves) <= ROOM:
            ax.legend(fontsize=7.0, ncols=1 + (len(curves) > 6))
    return ax
