"""What flows are made visible from: exact densities, recorded states, and particles that a field carries."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.solvers import Solution, solve
from pathline.solvers.integrate import as_cond
from pathline.solvers.sampling import start_where_defined
from pathline.viz.plane import RESOLUTION, Limits, check_limits, frame, raster

PARTICLES = 4000
"""Particles that stand for the density of a field that knows none."""


@runtime_checkable
class Density(Protocol):
    """What knows its density p_t in closed form: the exact fields of `testing.oracles`."""

    def log_prob(self, x: Tensor, t: float = ..., **cond: Any) -> Tensor:
        """log p_t(x), (B,), at points (B, D)."""
        ...

    def sample(self, n: int, t: float = ..., generator: torch.Generator | None = ..., **cond: Any) -> Tensor:
        """n draws from p_t, (n, D)."""
        ...


def refuse_unused(source: object, generator: torch.Generator | None, cond: dict[str, Any]) -> None:
    if generator is not None and isinstance(source, (Solution, Density)):
        raise ValueError("generator is read by nothing: only a field without a density needs particles")
    if isinstance(source, BaseField):
        source.check_conditions(cond)
    elif cond and isinstance(source, Solution):
        raise ValueError(f"{', '.join(cond)}: conditions are read by nothing, the solution is already made")


def recorded(solution: Solution, size: int) -> np.ndarray:
    """The trajectory (steps + 1, B, size) as numbers."""
    if not isinstance(solution, Solution):
        raise TypeError(f"solution must come from pl.solve, got {type(solution).__name__}")
    if solution.trajectory is None:
        raise ValueError("solution has no trajectory: make it with pl.solve(..., record=True)")
    if solution.trajectory.ndim != 3 or solution.trajectory.shape[2] != size:
        raise ValueError(
            f"this picture shows states of {size} coordinate{'s' if size > 1 else ''}: the trajectory must have shape "
            f"(steps + 1, B, {size}), got {tuple(solution.trajectory.shape)}"
        )
    return solution.trajectory.detach().double().cpu().numpy()


def box_of(limits: Limits | None, sources: Sequence[object], cond: dict[str, Any]) -> Limits:
    """``limits``, or a box around the source and the data of the first exact field."""
    if limits is not None:
        return check_limits(limits)
    for source in sources:
        if isinstance(source, Density):
            draw = torch.Generator().manual_seed(0)
            return frame(torch.cat([source.sample(2000, t, draw, **cond) for t in (0.0, 1.0)]))
    raise ValueError("limits must be given for a field without samples of its own, e.g. limits=pl.viz.frame(data)")


def placed(places: np.ndarray, source: object) -> Tensor:
    """``places`` where the network of ``source`` lives, in its dtype."""
    modules = source.modules() if isinstance(source, BaseField) else []
    weights = [p for module in modules for p in module.parameters()]
    x = torch.from_numpy(places)
    return x.to(weights[0].device, weights[0].dtype) if weights else x.float()


def log_density(source: Density, places: np.ndarray, t: float, cond: dict[str, Any]) -> np.ndarray:
    x = torch.from_numpy(places)
    with torch.inference_mode():
        return source.log_prob(x, t, **as_cond(cond, len(x), x.device)).double().numpy()


def exact_density(source: Density, t: float, box: Limits, cond: dict[str, Any]) -> np.ndarray:
    """p_t on the raster of ``box``, relative to its largest value there."""
    logs = log_density(source, raster(box, RESOLUTION)[0], t, cond).reshape(RESOLUTION, RESOLUTION)
    return np.exp(logs - logs.max())


def carried(
    source: BaseField, times: Sequence[float], generator: torch.Generator | None, cond: dict[str, Any]
) -> np.ndarray:
    """Particles that start as noise, (len(times), PARTICLES, 2), at each of ``times``."""
    grid = torch.unique(torch.cat([torch.linspace(0.0, 1.0, 33, dtype=torch.float64), torch.tensor(times).double()]))
    solution = solve(source, (PARTICLES, 2), grid=start_where_defined(source, grid), generator=generator, **cond)
    states = recorded(solution, 2)
    return states[[int((solution.times - t).abs().argmin()) for t in times]]
