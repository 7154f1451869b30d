"""Exact mode, slower: error against evaluations, and the log-likelihood landscape."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pathline.guidance import guide
from pathline.likelihood import log_prob
from pathline.playground.exact import square
from pathline.playground.settings import GRIDS, Points, Setting, exact_field, predicting
from pathline.solvers import SOLVERS
from pathline.solvers.frontier import endpoint, reference, rms
from pathline.solvers.integrate import as_cond
from pathline.solvers.sampling import start_where_defined
from pathline.viz.plane import raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUDGETS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
PARTICLES = 96
SIDE = 28
"""Cells a side of the likelihood landscape."""
DEPTH = 14.0
"""Nats below the highest log-density that the landscape tells apart."""


def solver_names() -> list[str]:
    """The solvers that a budget tells how many steps to take, and that draw no noise."""
    return [name for name, solver in SOLVERS.items() if not solver.stochastic and not solver.adaptive]


def error_series(points: Points, setting: Setting, solvers: Sequence[str]) -> "Iterator[dict[str, dict[float, float]]]":
    """RMS distance to converged endpoints by solver and evaluations, on the setting's grid; grows as it is measured.

    Of `PARTICLES` particles; every solver starts from the same noise. Yields after each solver.
    """
    setting = replace(setting, particles=PARTICLES, evaluations=max(BUDGETS))
    exact = exact_field(points, setting)
    field = guide(predicting(exact, setting), None if setting.guidance == 1.0 else setting.guidance)
    draw = torch.Generator().manual_seed(setting.seed)
    source = points.source
    x_0 = torch.randn(PARTICLES, 2, generator=draw) if source is None else source.draw(PARTICLES, draw)
    cond = as_cond({} if setting.label is None else {"y": setting.label}, PARTICLES, torch.device("cpu"))
    law = GRIDS[setting.grid][1](setting.path.schedule)
    found: dict[str, dict[float, float]] = {}
    with torch.inference_mode():
        target, moved = reference(field, x_0, cond, tolerance=1e-5, most=256)
        for name in solvers:
            solver, line = SOLVERS[name], {}
            for budget in BUDGETS:
                left = budget - int(field.path.stops_short() and not solver.finishes)
                steps = max((n for n in range(1, left + 1) if solver.evaluations(n) <= left), default=0)
                if not steps:
                    continue
                ends = endpoint(field, x_0, solver, start_where_defined(field, law.grid(steps)), cond)
                error = rms(ends - target)
                if math.isfinite(error) and error > 2.0 * moved:  # below that the target itself is no better
                    line[solver.evaluations(steps) + budget - left] = error
            if line:
                found[name] = line
                yield {key: dict(value) for key, value in found.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Landscape:
    """log p_1 over the box, nats, (SIDE, SIDE) row by row from below."""

    exact: np.ndarray
    flow: np.ndarray
    """Through the change of variables along the solver's own way (T7)."""
    error: float
    """Mean of |flow - exact| under the data."""
    box: tuple[float, float, float, float]


def landscape(points: Points, setting: Setting, steps: int = 24, draws: int = 128) -> Landscape:
    """The log-density by theory T7 beside the exact one, both without guidance; a solver that draws noise lends only its grid."""
    setting = replace(setting, particles=SIDE * SIDE + draws, guidance=1.0, evaluations=steps)
    exact = exact_field(points, setting)
    solver = "heun" if SOLVERS[setting.solver].stochastic else setting.solver
    box = square(points)
    cond: dict[str, Any] = {} if setting.label is None else {"y": setting.label}
    places = torch.from_numpy(raster(box, SIDE)[0]).float()
    spots = torch.cat([places, exact.sample(draws, 1.0, torch.Generator().manual_seed(setting.seed), **cond)])
    law = GRIDS[setting.grid][1](setting.path.schedule)
    budget: dict[str, Any] = {} if SOLVERS[solver].adaptive else {"steps": steps, "grid": law}
    begin = {} if points.source is None else {"source": lambda x: exact.log_prob(x, 0.0, **cond)}
    flow = log_prob(predicting(exact, setting), spots, solver=solver, **begin, **budget, **cond).double()
    true = exact.log_prob(spots, 1.0, **cond).double()
    return Landscape(
        exact=true[: len(places)].reshape(SIDE, SIDE).numpy(),
        flow=flow[: len(places)].reshape(SIDE, SIDE).numpy(),
        error=float((flow - true)[len(places) :].abs().mean()),
        box=box,
    )


def draw_landscape(found: Landscape) -> "Axes":
    """The exact log-density and the flow's, on one scale of `DEPTH` nats below the highest."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from pathline.viz.style import density_map, new_figure, panels, style

    top = float(found.exact.max())
    scale = ScalarMappable(Normalize(top - DEPTH, top), density_map())
    with style():
        ax = new_figure(7.2, 3.4).add_subplot()
        titles = "exact", "through the flow (T7)"
        for inner, values, title in zip(panels(ax, 2), (found.exact, found.flow), titles, strict=True):
            inner.imshow(
                values.clip(top - DEPTH, top),
                extent=found.box,
                origin="lower",
                cmap=density_map(),
                vmin=top - DEPTH,
                vmax=top,
            )
            inner.set(title=title)
        ax.figure.colorbar(scale, ax=ax, shrink=0.85, pad=0.02, label="log p, nats")
    return ax
