"""The look of the figures: one palette, and the few marks that they share. matplotlib comes in as an argument."""

from collections.abc import Sequence
from typing import Any

INK, RIGHT, WRONG, SECOND, THIRD, PALE = "#1f2430", "#1b6ca8", "#d1495b", "#edae49", "#3a9d7c", "#c9d3dc"
CYCLE = (RIGHT, SECOND, THIRD, "#7a5195", "#8d6e63", WRONG)


def label(axes: Any, x: str, y: str, title: str = "") -> None:
    """Axis labels and a title."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, fontsize=9)


def rates(axes: Any, lines: Sequence[tuple[str, Sequence[float], Sequence[float], float]], y: str = "error") -> None:
    """Errors against step sizes on two logarithmic axes, (name, sizes, errors, order), each beside a dotted line of its order."""
    for (name, sizes, errors, order), colour in zip(lines, CYCLE * 2, strict=False):
        axes.loglog(sizes, errors, "o-", color=colour, label=name, markersize=3.5, linewidth=1.2)
        axes.loglog(sizes, [errors[0] * (h / sizes[0]) ** order for h in sizes], ":", color=INK, linewidth=0.9)
    ticks = sorted({h for _, sizes, *_ in lines for h in sizes})
    axes.set_xticks(ticks, [f"{h:.2g}" for h in ticks])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter("")
    axes.legend(fontsize=7, frameon=False)
    label(axes, "step size h", y, "dotted: the stated orders")
