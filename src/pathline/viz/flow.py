"""Pictures of flows in the plane and on the line: paths, velocities, and the densities that they carry."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pathline.field import BaseField
from pathline.solvers import Solution
from pathline.solvers.integrate import as_cond
from pathline.solvers.sampling import evaluating
from pathline.viz.plane import (
    RESOLUTION,
    Limits,
    check_interval,
    check_limits,
    dots,
    frame,
    paint,
    plane_size,
    raster,
    smoothed,
    square_axes,
    widened,
)
from pathline.viz.sources import (
    Density,
    box_of,
    carried,
    exact_density,
    log_density,
    placed,
    recorded,
    refuse_unused,
)
from pathline.viz.style import INK, LINE, MODEL, MUTED, REAL, legend, new_axes, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIGHT = 5
"""Stops of the colour map for a density that something is drawn on."""


def trajectories(
    solution: Solution,
    *,
    paths: int = 200,
    limits: Limits | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The first ``paths`` trajectories of a solve in the plane: thin lines from grey dots to blue ones.

    ``solution`` comes from ``pl.solve`` and has a trajectory (steps + 1, B, 2).
    """
    from matplotlib.collections import LineCollection

    states = recorded(solution, 2)[:, :paths]
    box = frame(states.reshape(-1, 2)) if limits is None else check_limits(limits)
    with style():
        own = ax is None
        ax = new_axes(ax, *plane_size(box, legend=True, title=bool(title)))
        opacity = min(0.8, max(0.2, 60.0 / states.shape[1]))
        ax.add_collection(LineCollection(list(states.swapaxes(0, 1)), colors=MUTED, linewidths=0.6, alpha=opacity))
        for moment, colour in ((0, REAL), (-1, MODEL)):
            label = f"$t = {float(solution.times[moment]):.3g}$"
            ax.scatter(*states[moment].T, s=7.0, c=colour, linewidths=0, zorder=3, label=label)
        square_axes(ax, box)
        legend(ax, own=own)
        if title:
            ax.set_title(title)
    return ax


def field(
    field: BaseField,
    t: float,
    *,
    limits: Limits | None = None,
    background: Density | None = None,
    arrows: int = 22,
    title: str | None = None,
    ax: "Axes | None" = None,
    **cond: Any,
) -> "Axes":
    """The velocity u_t at the time ``t``: arrows that are the longer the faster, to the square root.

    Args:
        field: any field of points (B, 2), with its conditions ``cond``.
        limits: (left, right, bottom, top); by default around the source and the data of an exact field. For another
            field, ``frame(data)`` is a good choice.
        background: an exact field, to show its density below the arrows.
        arrows: how many a side.
    """
    field.check_conditions(cond)
    box = box_of(limits, [background, field], cond)
    places, sizes = raster(box, arrows)
    with evaluating(field), torch.inference_mode():
        x = placed(places, field)
        velocity = field(x, t, **as_cond(cond, len(x), x.device)).velocity.double().cpu().numpy()
    speed = np.linalg.norm(velocity, axis=1)
    longest = max(float(np.quantile(speed[np.isfinite(speed)], 0.99)), 1e-12) if np.isfinite(speed).any() else 1.0
    shown = velocity / np.maximum(np.sqrt(speed * longest), 1e-12)[:, None] * sizes.min() * 1.1
    with style():
        ax = new_axes(ax, *plane_size(box, title=True))
        if background is not None:
            paint(ax, exact_density(background, t, box, cond), box, stops=LIGHT)
        ax.quiver(
            *places.T, *shown.T, angles="xy", scale_units="xy", scale=1.0, color=MODEL if background is None else INK,
            width=0.003, headwidth=4.0, headlength=4.5, headaxislength=4.0, pivot="mid",
        )  # fmt: skip
        square_axes(ax, box)
        ax.set_title(title if title is not None else f"velocity $u_t$ at $t = {t:.3g}$")
    return ax


def density(
    source: "Density | BaseField",
    t: float,
    *,
    limits: Limits | None = None,
    generator: torch.Generator | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    **cond: Any,
) -> "Axes":
    """The density p_t at the time ``t``: exact where ``source`` knows it, else of 4,000 particles carried by it to t.

    The ink goes with the square root of the density. ``generator`` draws the particles; ``cond`` are conditions.
    """
    return snapshots(source, times=(t,), limits=limits, generator=generator, title=title, ax=ax, **cond)


def snapshots(
    source: "Density | BaseField | Solution",
    *,
    times: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    limits: Limits | None = None,
    generator: torch.Generator | None = None,
    smooth: bool = False,
    title: str | None = None,
    ax: "Axes | None" = None,
    **cond: Any,
) -> "Axes":
    """p_t at several ``times`` in a row, in the same limits: the panels are the ``child_axes`` of what is returned.

    Args:
        source: an exact field, shown by its density; another field, by the smoothed density of 4,000 particles that it
            carries; or a solution with a trajectory (steps + 1, B, 2), by its points at the visited times nearest to
            ``times``.
        generator: draws the particles.
        smooth: shows the points of a solution as a density too; some thousands of them make a good one.
    """
    if len(times) == 0:
        raise ValueError("times must hold at least one time, got none")
    refuse_unused(source, generator, cond)
    if smooth and not isinstance(source, Solution):
        raise ValueError("smooth is read by nothing: only the points of a solution can be shown either way")
    if isinstance(source, Solution):
        states = recorded(source, 2)
        chosen = [int((source.times - t).abs().argmin()) for t in times]
        clouds, times = [states[k] for k in chosen], [float(source.times[k]) for k in chosen]
        box = frame(states.reshape(-1, 2)) if limits is None else check_limits(limits)
        pictures = [smoothed(cloud, box) for cloud in clouds] if smooth else []
    elif isinstance(source, Density):
        clouds, box = [], box_of(limits, [source], cond)
        pictures = [exact_density(source, t, box, cond) for t in times]
    else:
        particles = carried(source, times, generator, cond)
        clouds, box = [], frame(particles.reshape(-1, 2)) if limits is None else check_limits(limits)
        pictures = [smoothed(cloud, box) for cloud in particles]
    with style():
        count = len(times)
        ax = new_axes(ax, *plane_size(box, count, title=bool(title)))
        for k, panel in enumerate(panels(ax, count, gap=0.015) if count > 1 else [ax]):
            if pictures:
                paint(panel, pictures[k], box)
            else:
                dots(panel, clouds[k], box, MODEL, inches=3.5 if count == 1 else 6.5 / count)
            square_axes(panel, box)
            panel.set_title(f"$t = {times[k]:.3g}$")
            if count > 1:
                _frame_only(panel)
        if title:
            ax.set_title(title, pad=24.0 if count > 1 else None)
    return ax


def phase_portrait(
    solution: Solution,
    *,
    background: "Density | Solution | None" = None,
    paths: int = 40,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    **cond: Any,
) -> "Axes":
    """A solve on the line: the first ``paths`` paths over time, on the density p_t(x) of an exact field.

    ``solution`` has a trajectory (steps + 1, B, 1). A solution as ``background``, this one or another, is shown by the
    smoothed density of all its particles. Each instant is inked relative to its own maximum.
    """
    if cond and not isinstance(background, Density):
        raise ValueError(f"{', '.join(cond)}: conditions are read by nothing without a field as background")
    states = recorded(solution, 1)[:, :, 0]
    finite = states[np.isfinite(states)]
    if finite.size == 0:
        raise ValueError("no state of the solution is finite: there is nothing to draw")
    low, high = widened(finite.min(), finite.max(), finite) if limits is None else check_interval(limits)
    times = solution.times.numpy()
    box = (float(times.min()), float(times.max()), low, high)
    with style():
        ax = new_axes(ax, 5.4, 3.2)
        if isinstance(background, Solution):
            paint(ax, _columns(background, box), box, stops=LIGHT)
        elif background is not None:
            places = np.linspace(box[2], box[3], RESOLUTION)
            moments = box[0] + (np.arange(RESOLUTION) + 0.5) / RESOLUTION * (box[1] - box[0])
            columns = [log_density(background, places[:, None], float(t), cond) for t in moments]
            paint(ax, np.stack([np.exp(logs - logs.max()) for logs in columns], 1), box, stops=LIGHT)
        ax.plot(times, states[:, :paths], color=INK if background is not None else MODEL, linewidth=0.7, alpha=0.65)
        ax.set(xlim=box[:2], ylim=box[2:], xlabel="time $t$", ylabel="state $x_t$")
        if title:
            ax.set_title(title)
    return ax


def _columns(solution: Solution, box: Limits) -> np.ndarray:
    """The density of particles on the line over time, (RESOLUTION, RESOLUTION), each column relative to its maximum."""
    states, times = recorded(solution, 1)[:, :, 0], solution.times.double().numpy()
    order = np.argsort(times)
    moments = box[0] + (np.arange(RESOLUTION) + 0.5) / RESOLUTION * (box[1] - box[0])
    steps = np.arange(RESOLUTION)
    blur = np.exp(-0.5 * ((steps[:, None] - steps[None]) / (RESOLUTION / 70.0)) ** 2)
    columns = []
    for t in moments:
        k = int(np.clip(np.searchsorted(times[order], t, side="right"), 1, len(order) - 1))
        first, last = order[k - 1], order[k]
        part = float(np.clip((t - times[first]) / max(times[last] - times[first], 1e-12), 0.0, 1.0))
        now = states[first] + part * (states[last] - states[first])
        counts, _ = np.histogram(now[np.isfinite(now)], bins=RESOLUTION, range=box[2:])
        smooth = blur @ counts
        columns.append(smooth / max(float(smooth.max()), 1e-12))
    return np.stack(columns, 1)


def _frame_only(ax: "Axes") -> None:
    """A thin frame in the place of axes with numbers."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=LINE)
