"""The look of the figures: one palette, and the few marks that they share. matplotlib comes in as an argument."""

from collections.abc import Mapping, Sequence
from typing import Any

INK, RIGHT, WRONG, SECOND, THIRD, PALE = "#1f2430", "#1b6ca8", "#d1495b", "#edae49", "#3a9d7c", "#c9d3dc"
CYCLE = (RIGHT, SECOND, THIRD, "#7a5195", "#8d6e63", WRONG)


def label(axes: Any, x: str, y: str, title: str = "") -> None:
    """Axis labels and a title."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, fontsize=9)


def orders(
    axes: Any,
    steps: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    slopes: Sequence[float] = (),
    *,
    x: str = "step size h",
    y: str = "error",
) -> None:
    """Errors against step sizes on two logarithmic axes, beside lines of the expected slopes."""
    for (name, errors), colour in zip(curves.items(), CYCLE * 2, strict=False):
        axes.loglog(steps, errors, "o-", color=colour, label=name, markersize=3.5, linewidth=1.2)
    first = list(curves.values())
    for errors, power in zip(first, slopes, strict=False):
        axes.loglog(steps, [errors[0] * (h / steps[0]) ** power for h in steps], ":", color=INK, linewidth=0.9)
    label(axes, x, y)
    axes.legend(fontsize=7, frameon=False)
