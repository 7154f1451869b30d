"""Pictures of points: scatter against the data, histograms of one number, and the choice between them and images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathline.viz.arrays import Values, as_array, as_labels, as_points, class_name
from pathline.viz.images import image_grid
from pathline.viz.plane import Limits, check_interval, check_limits, dots, frame, note_missing, plane_size, widened
from pathline.viz.style import MODEL, REAL, colours, legend, new_axes, panels, plain, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def samples(x: Values, *, y: Values | None = None, ax: "Axes | None" = None, **options: Any) -> "Axes":
    """A picture of samples: a grid of images (B, C, H, W), or points (B, D) against the data.

    ``options`` are those of `image_grid`, of `histogram` for D = 1, or else of `scatter`.

    >>> import torch
    >>> samples(torch.randn(100, 2), data=torch.randn(50, 2)).child_axes[1].get_title()
    'samples'
    """
    shape = as_array(x, "x").shape
    if len(shape) == 4:
        return image_grid(x, y=y, ax=ax, **options)
    if len(shape) != 2:
        raise ValueError(f"x must hold images (B, C, H, W) or points (B, D), got shape {shape}")
    if shape[1] == 1:
        if y is not None:
            raise ValueError("y is read by nothing: the histogram of one number shows no classes")
        return histogram(x, ax=ax, **options)
    return scatter(x, y=y, ax=ax, **options)


def scatter(
    x: Values,
    *,
    y: Values | None = None,
    data: Values | None = None,
    class_names: Sequence[str] = (),
    layout: Literal["beside", "over"] = "beside",
    limits: Limits | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Samples (B, D) in the plane, next to the ``data`` or over them, on shared axes of equal scale.

    Dots are the fainter the more of them overlap, so that density stays visible. Samples that are not finite, or so far
    out that the rest would shrink to a dot, are not drawn but counted in the corner.

    Args:
        x: points; for D > 2 along the two directions in which the data (or else they themselves) spread most.
        y: labels (B,) of ``x``, shown as colours with the names ``class_names``.
        data: points (M, D) to compare with.
        layout: "beside", two panels (``ax.child_axes``), or "over", the data in grey below the samples.
        limits: (left, right, bottom, top).

    Raises:
        ValueError: other shapes, another number of coordinates, or no finite sample.
    """
    if layout not in ("beside", "over"):
        raise ValueError(f'layout must be "beside" or "over", got {layout!r}')
    points = as_points(x, "x")
    real = None if data is None else as_points(data, "data")
    labels = None if y is None else as_labels(y, len(points))
    if class_names and y is None:
        raise ValueError(f"class_names {tuple(class_names)} need the labels y")
    points, real, names = _planar(points, real)
    box = frame(points, real) if limits is None else check_limits(limits)
    hues, entries = _hues(labels, class_names)
    beside = real is not None and layout == "beside"
    with style():
        own = ax is None
        ax = new_axes(ax, *plane_size(box, 1 + beside, legend=bool(entries), title=bool(title)))
        left, right = panels(ax, 2, gap=0.05) if beside else (ax, ax)
        if real is not None:
            dots(left, real, box, REAL)
        dots(right, points, box, hues)
        note_missing(right, points, box)
        left.set_ylabel(names[1])
        for panel, name in ((left, "data"), (right, "samples")):
            panel.set_xlabel(names[0])
            if beside:
                panel.set_title(name)
        if beside:
            right.tick_params(labelleft=False)
        elif real is not None:
            entries = [("data", REAL), *(entries or [("samples", MODEL)])]
        if entries:
            legend(right, own=own, handles=_swatches(entries))
        if title:
            ax.set_title(title, pad=24.0 if beside else None)
    return ax


def histogram(
    x: Values,
    *,
    data: Values | None = None,
    bins: int = 60,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The distribution of samples (B,) or (B, 1), as an outline over that of the ``data``, in the same bins."""
    drawn = _numbers(x, "x")
    real = None if data is None else _numbers(data, "data")
    base = drawn if real is None else real
    low, high = widened(base.min(), base.max(), drawn) if limits is None else check_interval(limits)
    edges = np.linspace(low, high, bins + 1)
    with style():
        own = ax is None
        ax = new_axes(ax, 5.0, 2.8)
        if real is not None:
            ax.stairs(_heights(real, edges), edges, fill=True, color=REAL, alpha=0.45, label="data")
        ax.stairs(_heights(drawn, edges), edges, color=MODEL, linewidth=1.7, label="samples")
        ax.set(xlabel="$x$", ylabel="density", xlim=(low, high))
        if real is not None:
            legend(ax, own=own)
        if title:
            ax.set_title(title)
    return ax


def _heights(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Densities per bin, of all values and not only of those inside."""
    return np.histogram(values, edges)[0] / len(values) / np.diff(edges)


def _hues(labels: np.ndarray | None, names: Sequence[str]) -> tuple["str | list[str]", list[tuple[str, str]]]:
    """The colour of each point, and what the colours mean."""
    if labels is None:
        return MODEL, []
    classes, which = np.unique(labels, return_inverse=True)
    hues = colours(len(classes))
    return [hues[i] for i in which], [(plain(class_name(int(c), names)), hue) for c, hue in zip(classes, hues)]


def _swatches(entries: Sequence[tuple[str, str]]) -> "list[Artist]":
    from matplotlib.lines import Line2D

    return [Line2D([], [], linestyle="", marker="o", color=colour, label=name) for name, colour in entries]


def _planar(points: np.ndarray, real: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None, tuple[str, str]]:
    """Points of two coordinates, and what these are called."""
    if real is not None and real.shape[1] != points.shape[1]:
        raise ValueError(f"data must have as many coordinates as x, {points.shape[1]}, got {real.shape[1]}")
    if real is not None and not np.isfinite(real).all():
        raise ValueError("data must be finite, got NaN or infinite numbers")
    if points.shape[1] == 2:
        return points, real, ("", "")
    base = points[np.isfinite(points).all(1)] if real is None else real
    if points.shape[1] < 2 or len(base) < 2:
        raise ValueError(f"x must hold finite points of at least two coordinates, got shape {points.shape}")
    centre = base.mean(0)
    axes = np.linalg.svd(base - centre, full_matrices=False)[2][:2]
    largest = np.abs(axes).argmax(1)
    axes = axes * np.sign(axes[[0, 1], largest])[:, None]  # an axis has no direction: take the same one each time
    names = f"principal axis 1 of the {'samples' if real is None else 'data'}", "axis 2"
    return (points - centre) @ axes.T, None if real is None else (real - centre) @ axes.T, names


def _numbers(values: Values, name: str) -> np.ndarray:
    array = as_array(values, name).astype(float)
    if array.ndim not in (1, 2) or array.size != len(array) or array.size == 0:
        raise ValueError(f"{name} must hold one number a sample, (B,) or (B, 1), got {array.shape}")
    finite = array.reshape(-1)[np.isfinite(array.reshape(-1))]
    if len(finite) == 0:
        raise ValueError(f"no value of {name} is finite: there is nothing to draw")
    return finite
