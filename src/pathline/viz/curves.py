"""Curves: the loss of a training over its steps, and the error of solvers over what they cost."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pathline._errors import nearest
from pathline.viz.style import MARKERS, MUTED, REAL, colours, grid, legend, log_axis, new_axes, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records: TypeAlias = Iterable[Mapping[str, Any]]
DASHES = ((1, 2), (5, 2, 1, 2), (8, 3), (5, 2, 1, 2, 1, 2))
Points: TypeAlias = Mapping[float, float] | Sequence[tuple[float, float]]


def loss(
    records: "Records | str | PathLike[str]",
    *,
    keys: Sequence[str] = ("loss",),
    window: int | None = None,
    floor: float | None = None,
    ylabel: str = "loss",
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The loss over the steps: each record pale, their running mean on top.

    Args:
        records: dictionaries with "step" and ``keys``, or the path of a ``log.jsonl`` that holds them. Records without a
            key are passed over, values that are not finite leave a gap, and of a step that was repeated after a
            resumption the last record counts.
        keys: what is drawn, each with a colour of its own.
        window: records of the running mean; by default a thirtieth of them, 1 for no smoothing.
        floor: a level to compare with, such as the loss of the exact field, which no network can go below.

    Raises:
        FileNotFoundError, ValueError: no such file, a file without records, or no record of a key.
    """
    rows = read_records(records) if isinstance(records, (str, PathLike)) else list(records)
    curves = {key: _curve(rows, key) for key in keys}
    with style():
        ax = new_axes(ax, 5.4, 3.0)
        grid(ax, "y")
        for (key, (steps, values)), colour in zip(curves.items(), colours(len(curves))):
            span = max(1, round(len(values) / 30)) if window is None else window
            if span > 1:
                ax.plot(steps, values, color=colour, alpha=0.28, linewidth=0.7)
            ax.plot(steps, running_mean(values, span), color=colour, label=plain(key))
        if floor is not None:
            ax.axhline(floor, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.1, label=f"exact field: {floor:.4g}")
        drawn = np.concatenate([values for _, values in curves.values()])
        drawn = drawn[np.isfinite(drawn)]
        if drawn.min() > 0.0 and drawn.max() > 8.0 * drawn.min():
            log_axis(ax, "y", *_reach(drawn, floor))
        ax.set(xlabel="step", ylabel=ylabel)
        ax.margins(x=0.02)
        if len(keys) > 1 or floor is not None:
            ax.legend()
        if title:
            ax.set_title(title)
    return ax


def error_curve(
    series: Mapping[str, Points],
    *,
    floor: float | None = None,
    floor_label: str = "real vs real",
    orders: Sequence[int] = (),
    xlabel: str = "evaluations of the field",
    ylabel: str = "error",
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Error against evaluations, both logarithmic: one line a solver, each with its own colour and marker.

    Args:
        series: name -> {evaluations: error}, or pairs (evaluations, error).
        floor: a level that no solver can go below, named ``floor_label``.
        orders: slopes to compare with, drawn as thin lines error ~ evaluations^−order.

    Raises:
        ValueError: no series, an empty one, or numbers that are not positive and finite.
    """
    if not series:
        raise ValueError("series must hold at least one curve, got none")
    curves = {name: _positive(name, points) for name, points in series.items()}
    with style():
        own = ax is None
        ax = new_axes(ax, 5.4, 3.5)
        grid(ax, "both")
        for i, ((name, (x, y)), colour) in enumerate(zip(curves.items(), colours(len(curves)))):
            ax.plot(x, y, color=colour, marker=MARKERS[i % len(MARKERS)], label=plain(name))
        xs = sorted({float(v) for x, _ in curves.values() for v in x})
        ys = sorted(float(v) for _, y in curves.values() for v in y)
        log_axis(ax, "x", xs[0], xs[-1], xs)
        top = 2.0 * ys[-1] if orders else ys[-1]
        log_axis(ax, "y", min(ys[0], floor or ys[0]), max(top, floor or top))
        for order, dashes in zip(orders, cycle(DASHES)):
            _slope(ax, order, dashes, xs[0], xs[-1], ys[0], top)
        if floor is not None:
            label = f"{plain(floor_label)}: {floor:.3g}"
            ax.axhline(floor, color=REAL, linestyle=(0, (4, 3)), linewidth=1.2, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        legend(ax, own=own)
        if title:
            ax.set_title(title)
    return ax


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of about ``window`` values around each, which lags behind nothing: m_k = mean(v_{k−h} … v_{k+h}).

    h = window // 2, but no more than k, so that a steep beginning stays steep; at the end what is missing is left out.
    Values that are not finite do not count.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 record, got {window}")
    place = np.arange(len(values))
    half = np.minimum(window // 2, place)
    first, last = place - half, np.minimum(place + half + 1, len(values))
    good = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    known = counts[last] - counts[first]
    means = (totals[last] - totals[first]) / np.maximum(known, 1)
    return np.where(last - first == 1, values, np.where(known > 0, means, np.nan))


def read_records(path: "str | PathLike[str]") -> list[dict[str, Any]]:
    """The records of a ``.jsonl`` file, but for the lines that a crash cut short."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no log {path}: expected a file of one JSON record a line")
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no records: expected one JSON object a line")
    return rows


def _curve(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of ``key``, in the order of the steps."""
    found = {float(row["step"]): row[key] for row in rows if "step" in row and key in row}
    values = np.array([np.nan if found[step] is None else float(found[step]) for step in sorted(found)])
    if not np.isfinite(values).any():
        known = {name for row in rows for name in row if name != "step"}
        hint = nearest(key, known) if known else "there are no records"
        raise ValueError(f"no record has a step and a finite {key!r}: {hint}")
    return np.array(sorted(found)), values


def _reach(drawn: np.ndarray, floor: float | None) -> tuple[float, float]:
    values = [float(drawn.min()), float(drawn.max()), *([floor] if floor is not None and floor > 0.0 else [])]
    return min(values), max(values)


def _positive(name: str, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a series, by rising x."""
    pairs = sorted(points.items() if isinstance(points, Mapping) else points)
    array = np.array(pairs, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"series {name!r} must hold pairs (evaluations, error), got {str(points)[:80]}")
    bad = ~(np.isfinite(array) & (array > 0.0)).all(1)
    if bad.any():
        raise ValueError(
            f"series {name!r} must hold positive finite numbers, as its axes are logarithmic: got "
            f"{tuple(array[bad][0].tolist())}; leave such points out"
        )
    return array[:, 0], array[:, 1]


def _slope(
    ax: "Axes", order: int, dashes: tuple[float, ...], left: float, right: float, low: float, high: float
) -> None:
    """A thin line of slope −order from the upper left corner, as far as it stays in the picture."""
    end = min(right, left * (high / low) ** (1.0 / order))
    values = [high, high * (end / left) ** -order]
    ax.plot([left, end], values, color=MUTED, linestyle=(0, dashes), linewidth=1.0, label=f"order {order}", zorder=1)
