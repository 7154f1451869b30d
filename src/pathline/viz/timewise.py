"""Readings over time t: where a flow bends, where a network is wrong, how its loss by time fell."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pathline.viz.curves import Records, read_records
from pathline.viz.style import MARKERS, MUTED, colours, density_map, grid, legend, new_axes, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bins: TypeAlias = Sequence[float | None]
"""One value for each bin of t; None or NaN where nothing is known."""


def over_time(
    series: Mapping[str, Bins],
    *,
    edges: Sequence[float] | None = None,
    level: float | None = None,
    level_label: str = "",
    log: bool = False,
    ylabel: str = "",
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """A line for each of ``series`` over bins of the time t, with a marker in the middle of each bin.

    Args:
        series: name -> one value a bin.
        edges: where the bins begin and end, one more than there are values; by default equal bins of [0, 1].
        level: something to compare with, drawn as a dashed line, and what it is called.
        log: a logarithmic axis; values that are not positive are left out.

    Raises:
        ValueError: no series, or not one value a bin.

    >>> over_time({"a": [0.3, 0.1, None]}, ylabel="bend").get_xlabel()
    'time $t$'
    """
    if not series:
        raise ValueError("series must hold at least one line, got none")
    size = len(next(iter(series.values())))
    cuts = np.linspace(0.0, 1.0, size + 1) if edges is None else np.asarray(edges, dtype=float)
    middle = 0.5 * (cuts[1:] + cuts[:-1])
    with style():
        own = ax is None
        ax = new_axes(ax, 5.4, 3.2)
        grid(ax, "y")
        for i, ((name, values), colour) in enumerate(zip(series.items(), colours(len(series)))):
            line = _values(name, values, len(middle))
            if log:
                line = np.where(line > 0.0, line, np.nan)
                ax.set_yscale("log")
            ax.plot(middle, line, color=colour, marker=MARKERS[i % len(MARKERS)], label=plain(name))
        if level is not None:
            ax.axhline(level, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.1, label=plain(level_label) or None)
        ax.set(xlim=(float(cuts[0]), float(cuts[-1])), xlabel="time $t$", ylabel=ylabel)
        if len(series) > 1 or (level is not None and level_label):
            legend(ax, own=own)
        if title:
            ax.set_title(title)
    return ax


def loss_by_time(
    records: "Records | str | PathLike[str]",
    *,
    key: str = "loss_by_t",
    stages: int = 5,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The loss over t at ``stages`` parts of a training, from pale (its beginning) to dark (its end).

    ``records`` are those of a ``log.jsonl``, or its path; each with ``key`` has a list of one loss a bin of t.
    """
    rows = read_records(records) if isinstance(records, (str, PathLike)) else list(records)
    found = {float(row["step"]): row[key] for row in rows if "step" in row and row.get(key)}
    if not found:
        raise ValueError(f"no record has a step and {key!r}: train with time_bins above 0")
    steps = np.array(sorted(found))
    table = np.stack([_values(key, found[step], len(found[steps[-1]])) for step in steps])
    parts = np.array_split(np.arange(len(steps)), min(stages, len(steps)))
    shades = density_map()(np.linspace(0.3, 1.0, len(parts)))
    middle = (np.arange(table.shape[1]) + 0.5) / table.shape[1]
    with style():
        own = ax is None
        ax = new_axes(ax, 5.4, 3.2)
        grid(ax, "y")
        for rows_of, shade in zip(parts, shades, strict=True):
            known = np.isfinite(table[rows_of])
            mean = np.where(known, table[rows_of], 0.0).sum(0) / np.maximum(known.sum(0), 1)
            line = np.where(known.any(0), mean, np.nan)
            ax.plot(middle, line, color=shade, marker="o", label=f"step {steps[rows_of[-1]]:,.0f}")
        drawn = table[np.isfinite(table) & (table > 0.0)]
        if drawn.size and drawn.max() > 8.0 * drawn.min():
            ax.set_yscale("log")
        ax.set(xlim=(0.0, 1.0), xlabel="time $t$", ylabel="mean loss in a bin of $t$")
        legend(ax, own=own)
        if title:
            ax.set_title(title)
    return ax


def _values(name: str, values: Bins, count: int) -> np.ndarray:
    line = np.array([np.nan if value is None else float(value) for value in values])
    if line.shape != (count,):
        raise ValueError(f"series {name!r} must have one value for each of the {count} bins, got {len(line)}")
    return line
