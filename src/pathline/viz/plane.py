"""The plane that points are drawn in: its limits, dots whose density stays visible, and densities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pathline.viz.arrays import Values, as_points
from pathline.viz.style import MUTED, density_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Limits: TypeAlias = tuple[float, float, float, float]
"""(left, right, bottom, top)."""

RESOLUTION = 160
"""Cells a side of a picture of a density."""


def frame(points: Values, around: Values | None = None, *, margin: float = 0.05) -> Limits:
    """The box around the finite ``points`` (B, 2), with a margin.

    With other points to be ``around``, these are all inside, and ``points`` as far as a few wild ones do not shrink
    everything else to a dot.
    """
    array = as_points(points, "points")
    finite = array[np.isfinite(array).all(1)]
    if array.shape[1] != 2 or len(finite) == 0:
        raise ValueError(f"points must hold finite points (B, 2), got {len(finite)} finite ones of {array.shape}")
    base = finite if around is None else as_points(around, "around")
    left, right, bottom, top = (
        end for k in (0, 1) for end in widened(base[:, k].min(), base[:, k].max(), finite[:, k], margin)
    )
    return left, right, bottom, top


def widened(low: float, high: float, others: np.ndarray, margin: float = 0.05) -> tuple[float, float]:
    """(low, high) stretched over ``others``, and a margin.

    To either side over those that lie within a quarter of its width; where these are not nearly all, over the central
    99 %, though by no more than its width.
    """
    width = float(high - low) or 1.0
    below, above = _stretch(low - others, width), _stretch(others - high, width)
    low, high = float(low) - below, float(high) + above
    pad = margin * ((high - low) or 1.0)
    return low - pad, high + pad


def _stretch(beyond: np.ndarray, width: float) -> float:
    """How far an end must move, where ``beyond`` is how far the points lie outside of it."""
    tame = float(beyond[beyond <= 0.25 * width].max(initial=0.0))
    common = min(float(np.quantile(beyond, 0.995)), width)
    return common if common > 0.25 * width else tame


def check_limits(limits: Limits) -> Limits:
    """``limits`` as four finite numbers in order."""
    values = tuple(float(v) for v in limits)
    if len(values) != 4 or not np.isfinite(values).all() or values[0] >= values[1] or values[2] >= values[3]:
        raise ValueError(f"limits must be (left, right, bottom, top) with left < right and bottom < top, got {limits}")
    return values


def check_interval(limits: tuple[float, float]) -> tuple[float, float]:
    """``limits`` as two finite numbers in order."""
    values = tuple(float(v) for v in limits)
    if len(values) != 2 or not np.isfinite(values).all() or values[0] >= values[1]:
        raise ValueError(f"limits must be (low, high) with low < high, got {limits}")
    return values


def plane_size(box: Limits, count: int = 1, *, legend: bool = False, title: bool = False) -> tuple[float, float]:
    """Inches for ``count`` panels that show ``box`` at equal scale, one beside the other."""
    panel = {1: 3.5, 2: 2.9}.get(count, 6.9 / count)
    height = panel * (box[3] - box[2]) / (box[1] - box[0])
    return panel * count + 0.35 + 0.7 * legend, min(max(height, 1.2), 6.0) + 0.35 + 0.25 * title


def square_axes(ax: "Axes", box: Limits) -> None:
    """``ax`` showing ``box`` at equal scale."""
    ax.set(xlim=box[:2], ylim=box[2:])
    ax.set_aspect("equal", adjustable="box")


def dots(ax: "Axes", points: np.ndarray, box: Limits, colour: "str | Sequence[str]", *, inches: float = 3.0) -> None:
    """Points (B, 2) within ``box``: the more there are, the smaller, and the more overlap, the fainter.

    ``inches`` is about how large the axes are.
    """
    size = float(np.clip(8_000.0 / len(points), 2.0, 12.0)) * (inches / 3.0) ** 1.5
    opacity = dot_opacity(points, box, size, inches=inches)
    ax.scatter(points[:, 0], points[:, 1], s=size, c=colour, alpha=opacity, linewidths=0)
    square_axes(ax, box)


def dot_opacity(points: np.ndarray, box: Limits, size: float, *, inches: float) -> float:
    """The opacity a with which 1 − (1 − a)^m = 0.85, where m dots of ``size`` (points²) overlap at the median point."""
    side, cells = max(box[1] - box[0], box[3] - box[2]), 48
    place = np.floor((points - [box[0], box[2]]) / side * cells)
    place = place[np.isfinite(place).all(1)]
    _, owner, counts = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    dots_a_cell = (72.0 * inches / cells) ** 2 / size
    overlap = max(1.0, float(np.median(counts[owner.reshape(-1)])) / dots_a_cell)
    return float(np.clip(1.0 - 0.15 ** (1.0 / overlap), 0.04, 0.7))


def note_missing(ax: "Axes", points: np.ndarray, box: Limits) -> None:
    """Says in the corner how many points are not to be seen."""
    x, y = points[:, 0], points[:, 1]
    finite = np.isfinite(points).all(1)
    inside = (x >= box[0]) & (x <= box[1]) & (y >= box[2]) & (y <= box[3])
    counts = (int((~finite).sum()), "not finite"), (int((finite & ~inside).sum()), "outside")
    note = ", ".join(f"{count} {what}" for count, what in counts if count)
    if note:
        ax.text(0.98, 0.02, note, transform=ax.transAxes, ha="right", va="bottom", fontsize=8.0, color=MUTED)


def raster(box: Limits, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of ``cells`` × ``cells`` cells of ``box``, (cells², 2) row by row from below, and (x, y) cell sizes."""
    sizes = np.array([box[1] - box[0], box[3] - box[2]]) / cells
    steps = np.arange(cells) + 0.5
    x, y = np.meshgrid(box[0] + sizes[0] * steps, box[2] + sizes[1] * steps)
    return np.stack([x.ravel(), y.ravel()], 1), sizes


def smoothed(points: np.ndarray, box: Limits, cells: int = RESOLUTION) -> np.ndarray:
    """The density of points (B, 2) on the raster of ``box``, (cells, cells): a histogram blurred by 1/70 of the box."""
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=cells, range=[box[2:], box[:2]])
    steps = np.arange(cells)
    kernel = np.exp(-0.5 * ((steps[:, None] - steps[None]) / (cells / 70.0)) ** 2)
    kernel /= kernel.sum(0)
    return kernel @ counts @ kernel.T / len(points) / np.prod(raster(box, cells)[1])


def paint(ax: "Axes", values: np.ndarray, box: Limits, *, stops: int = 7) -> None:
    """A density on the raster of ``box`` as a picture; a square root keeps its tails visible.

    Fewer ``stops`` of the colour map leave it light enough to draw on.
    """
    from matplotlib.colors import PowerNorm

    top = float(values.max()) or 1.0
    ax.imshow(
        values, extent=box, origin="lower", cmap=density_map(stops), norm=PowerNorm(0.5, 0.0, top), aspect="auto",
        interpolation="bilinear", zorder=0,
    )  # fmt: skip
