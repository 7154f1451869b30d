"""Pictures of images: grids, film strips, and samples beside their nearest training images.

Each is one mosaic of whole pixels. In a figure of their own the pixels of the images are squares of a whole number of
screen pixels, so that 8 × 8 digits are crisp and their grey levels exact.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.solvers import Solution
from pathline.solvers.integrate import as_cond
from pathline.solvers.sampling import evaluating
from pathline.viz.arrays import (
    Range,
    Values,
    as_array,
    as_images,
    as_labels,
    class_name,
    mosaic,
    pixel_range,
    row_tops,
    to_bytes,
)
from pathline.viz.style import new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, CELL = 1000, 1200, 160
"""Screen pixels that a mosaic aims at, and that one image has at most."""
GAP, BORDER = 3, 2
MARGIN = 20


def image_grid(
    x: Values,
    *,
    y: Values | None = None,
    class_names: Sequence[str] = (),
    columns: int | None = None,
    rows: int | None = None,
    value_range: Range | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The first images of ``x`` as a grid; with labels one row a class, named at its left.

    Args:
        x: images (B, C, H, W) with 1 or 3 channels, of any dtype and device.
        y: labels (B,). class_names: what the classes are called, in the order of the labels.
        columns: at most so many; by default 10 a class, or a square of at most 100 images.
        rows: at most so many.
        value_range: (black, white); by default 0 … 255 for uint8, 0 … 1 for bool, else the extremes of ``x``.

    Raises:
        ValueError, TypeError: another shape, labels that do not fit, or an empty range.

    >>> image_grid(torch.rand(12, 1, 8, 8)).images[0].get_array().shape[2]
    3
    """
    images = as_images(x, "x")
    for name, value in (("columns", columns), ("rows", rows)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if class_names and y is None:
        raise ValueError(f"class_names {tuple(class_names)} need the labels y")
    if y is None:
        places, names = _square(len(images), columns, rows), []
    else:
        places, names = _by_class(as_labels(y, len(images)), class_names, columns or 10, rows)
    return _show(to_bytes(images, pixel_range(images, value_range)), places, names, [], title, ax)


def pairs(
    x: Values,
    neighbours: Values,
    *,
    distances: Values | None = None,
    columns: int = 10,
    rows: int = 2,
    names: tuple[str, str] = ("sample", "nearest"),
    value_range: Range | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Images above their counterparts, such as samples above their nearest training images.

    Args:
        x: images (B, C, H, W).
        neighbours: as many, pair by pair.
        columns: at most so many pairs a row.
        rows: at most so many rows of pairs.
        distances: (B,), puts the closest pairs first: where a model copies, it shows there.
        names: of ``x`` and of ``neighbours``.
        value_range: see `image_grid`; by default that of both.
    """
    first, second = as_images(x, "x"), as_images(neighbours, "neighbours")
    if first.shape != second.shape:
        raise ValueError(f"neighbours must have the shape of x, {first.shape}, got {second.shape}")
    order = np.arange(len(first)) if distances is None else np.argsort(_one_each(distances, len(first)), kind="stable")
    order = [int(i) for i in order[: columns * rows]]
    places: list[list[int | None]] = []
    for start in range(0, len(order), columns):
        chosen = order[start : start + columns]
        places.append([*chosen])
        places.append([len(first) + i for i in chosen])
    labels = [names[i % 2] for i in range(len(places))]
    both = np.concatenate([first, second])
    pictures = to_bytes(both, pixel_range(both, value_range))
    return _show(pictures, places, labels, [], title, ax, breaks=range(2, len(places), 2))


def film(
    solution: Solution,
    *,
    field: BaseField | None = None,
    samples: int = 3,
    frames: int = 9,
    transform: Callable[[Tensor], Tensor] | None = None,
    value_range: Range | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    **cond: Any,
) -> "Axes":
    """The film strip of a solve of images: x_t over time and, given the field, what it takes x_1 for at each t.

    Args:
        solution: of ``pl.solve``, with a trajectory (steps + 1, B, C, H, W).
        field: with ``cond``, as in the solve, for the data prediction E[x_1 | x_t].
        samples: how many of the B are shown. frames: at how many times, evenly spaced among those visited.
        transform: from states to pixel values, such as the ``inverse`` of a ``Standardizer``.
        value_range: (black, white) after ``transform``; by default the extremes of the last states.
    """
    if cond and field is None:
        raise ValueError(f"{', '.join(cond)}: conditions are read by nothing without a field")
    if solution.trajectory is None:
        raise ValueError("solution has no trajectory: make it with pl.solve(..., record=True)")
    if solution.trajectory.ndim != 5:
        raise ValueError(
            f"film shows images: the trajectory must have shape (steps + 1, B, C, H, W), got "
            f"{tuple(solution.trajectory.shape)}"
        )
    for name, value in (("samples", samples), ("frames", frames)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    batch = solution.trajectory.shape[1]
    ready = as_cond(cond, batch, solution.trajectory.device)
    chosen = nearest_frames(solution.times, torch.linspace(0.0, 1.0, frames, dtype=torch.float64))
    count = min(samples, batch)
    strips = [[solution.trajectory[k, :count] for k in chosen]]
    if field is not None:
        field.check_conditions(cond)
        short = {k: v[:count] if isinstance(v, Tensor) and v.ndim else v for k, v in ready.items()}
        with evaluating(field), torch.inference_mode():
            strips.append([field(x, solution.times[k], **short).data for k, x in zip(chosen, strips[0])])
    apply = transform if transform is not None else lambda x: x
    stacked = [as_images(apply(torch.cat(strip).clone()), "solution") for strip in strips]
    limits = pixel_range(as_images(apply(solution.x), "solution"), value_range)
    return _show_film(stacked, limits, count, solution.times[chosen].tolist(), title, ax)


def nearest_frames(times: Tensor, wanted: Tensor) -> list[int]:
    """The indices of the visited times nearest to ``wanted`` (fractions of the way), without repeats."""
    first, last = times[0], times[-1]
    aims = first + wanted.to(times) * (last - first)
    found = (aims[:, None] - times[None]).abs().argmin(1)
    return list(dict.fromkeys(int(i) for i in found))


def _show_film(
    strips: list[np.ndarray], limits: Range, count: int, times: list[float], title: str | None, ax: "Axes | None"
) -> "Axes":
    frames, kinds = len(times), len(strips)
    names = ["$x_t$", "$E[x_1|x_t]$"][:kinds]
    size = len(strips[0])
    places = [[kind * size + k * count + i for k in range(frames)] for i in range(count) for kind in range(kinds)]
    return _show(
        to_bytes(np.concatenate(strips), limits),
        places,
        names * count,
        [f"$t$ = {t:.2f}" if k == 0 else f"{t:.2f}" for k, t in enumerate(times)],
        title,
        ax,
        breaks=range(kinds, kinds * count, kinds),
    )


def _one_each(values: Values, count: int) -> np.ndarray:
    array = as_array(values, "distances")
    if array.shape != (count,):
        raise ValueError(f"distances must have shape ({count},), one a pair, got {array.shape}")
    return array


def _square(count: int, columns: int | None, rows: int | None) -> list[list[int | None]]:
    """Row by row; as square as possible where nothing is said."""
    count = min(count, 100) if rows is None else count
    if columns is None:
        columns = max(1, -(-count // rows)) if rows is not None else int((count - 1) ** 0.5) + 1
        columns = min(columns, 20)
    if rows is not None:
        count = min(count, columns * rows)
    return [list(range(start, min(start + columns, count))) for start in range(0, count, columns)]


def _by_class(
    y: np.ndarray, class_names: Sequence[str], columns: int, rows: int | None
) -> tuple[list[list[int | None]], list[str]]:
    classes = [int(c) for c in np.unique(y)][: rows if rows is not None else 20]
    places: list[list[int | None]] = [[int(i) for i in np.flatnonzero(y == c)[:columns]] for c in classes]
    return places, [plain(class_name(c, class_names)) for c in classes]


def _show(
    pictures: np.ndarray,
    places: Sequence[Sequence[int | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str | None,
    ax: "Axes | None",
    breaks: Sequence[int] = (),
) -> "Axes":
    """The mosaic on ``ax``, or on a figure that fits it pixel by pixel."""
    height, width = pictures.shape[1:3]
    columns = max(len(row) for row in places)
    scale = max(1, min(WIDTH // (columns * width), HEIGHT // (len(places) * height), CELL // max(width, height)))
    cell_height, cell_width = scale * height + 2 * BORDER, scale * width + 2 * BORDER
    canvas = mosaic(pictures, places, scale=scale, gap=GAP, border=BORDER, breaks=breaks)
    tops = row_tops(len(places), cell_height, GAP, breaks)
    with style():
        ax = _fitting_axes(canvas.shape, row_labels, column_labels, title) if ax is None else ax
        # "antialiased" is "nearest" where the pixels match, and smooths where the mosaic must shrink
        ax.imshow(canvas, interpolation="antialiased", origin="upper")
        ax.spines[:].set_visible(False)
        middle_x = [(i + 0.5) * cell_width + i * GAP - 0.5 for i in range(columns)]
        middle_y = [top + 0.5 * cell_height - 0.5 for top in tops]
        ax.set_xticks(middle_x if column_labels else [], labels=column_labels or None)
        ax.set_yticks(middle_y if row_labels else [], labels=row_labels or None)
        ax.tick_params(length=0, pad=4, top=True, bottom=False, labeltop=True, labelbottom=False)
        if title:
            ax.set_title(title, loc="left")
    return ax


def _fitting_axes(
    shape: tuple[int, ...], row_labels: Sequence[str], column_labels: Sequence[str], title: str | None
) -> "Axes":
    """Axes of exactly ``shape`` screen pixels, with room for the labels around them."""
    figure = new_figure(1.0, 1.0, layout=None)
    dots = figure.dpi / 72.0
    left = MARGIN + max((int(dots * _text_width(label, 8.5)) + 20 for label in row_labels), default=0)
    top = MARGIN + (32 if column_labels else 0) + (46 if title else 0)
    right = MARGIN + max(0, (int(dots * _text_width(title, 10.0)) if title else 0) - shape[1])
    width, height = left + shape[1] + right, top + shape[0] + MARGIN
    figure.set_size_inches(width / figure.dpi, height / figure.dpi)
    return figure.add_axes((left / width, MARGIN / height, shape[1] / width, shape[0] / height))


def _text_width(text: str, points: float) -> float:
    """In points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return TextPath((0.0, 0.0), text, size=points, prop=FontProperties()).get_extents().width
