"""How straight is a flow, and how far from optimal transport? (theory T32)"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.metrics.base import as_pair, check_samples, row_blocks
from pathline.metrics.wasserstein import wasserstein2
from pathline.solvers import Solver, solve
from pathline.solvers.integrate import as_cond, as_solver

# Numbers of a trajectory that are kept at once: 256 MiB in float32.
_KEPT = 2**26


@dataclass(frozen=True, kw_only=True)
class Transport:
    """What the paths of a flow cost, from `measure_transport`. All in squared units of x but the ratios."""

    path_energy: float
    """PE = E ∫ |v|² dt along the paths."""
    displacement: float
    """E |x_1 − x_0|² between the ends of the paths: at most PE."""
    length_ratio: float
    """Mean length of the paths over the mean distance of their ends: 1 if they are straight."""
    crossing: float
    """Share of pairs of paths that would be cheaper with their ends exchanged (`crossing`): 0 in optimal transport."""
    w2_squared: float | None
    """Exact squared Wasserstein-2 distance between the source points and the data, if there were data."""
    samples: int

    @property
    def straightness(self) -> float:
        """E ∫ |v − (x_1 − x_0)|² dt = PE − E |x_1 − x_0|²: 0 if every path is a straight line at constant speed."""
        return max(0.0, self.path_energy - self.displacement)

    @property
    def curvature(self) -> float:
        """Straightness over E |x_1 − x_0|², without a unit."""
        return self.straightness / self.displacement if self.displacement > 0.0 else 0.0

    @property
    def normalised_path_energy(self) -> float | None:
        """NPE = |PE − W2²| / W2², the share of the energy that no transport would need."""
        if self.w2_squared is None:
            return None
        return abs(self.path_energy - self.w2_squared) / self.w2_squared if self.w2_squared > 0.0 else float("inf")


def measure_transport(
    field: BaseField,
    x_0: Tensor,
    x_1: Tensor | None = None,
    *,
    solver: "Solver | str" = "euler",
    steps: int = 100,
    w2_squared: float | None = None,
    **cond: Any,
) -> Transport:
    """Energy, straightness and crossings of the paths of ``field`` from the source points ``x_0`` (B, ...).

    ``x_1`` (M, ...) are data for W2², at best as many as source points; or ``w2_squared`` itself, where it is known.
    It is taken between the states in which the paths start (x_0 times sigma_0 of the path) and x_1. NPE with 100
    Euler steps is that of Tong et al. (TMLR 2024): quote the number of points with it. Any field will do, exact or
    trained; ``cond`` are its conditions, one row per sample.

    Raises:
        ValueError: a stochastic solver, whose paths have no finite energy.
    """
    check_samples(x_0, "x_0", minimum=2)
    energies, lengths, starts, ends = [], [], [], []
    for path, times in _trajectories(field, x_0, solver, steps, cond):
        energies.append(trajectory_energy(path, times))
        lengths.append(path.diff(dim=0).flatten(2).double().norm(dim=2).sum(0))
        starts.append(path[0])
        ends.append(path[-1])
    start, end = torch.cat(starts), torch.cat(ends)
    moved = (end - start).flatten(1).double()
    if x_1 is not None and w2_squared is None:
        w2_squared = wasserstein2(start, x_1) ** 2
    chord = float(moved.norm(dim=1).mean())
    return Transport(
        path_energy=float(torch.cat(energies).mean()),
        displacement=float(moved.square().sum(1).mean()),
        length_ratio=float(torch.cat(lengths).mean()) / chord if chord > 0.0 else 1.0,
        crossing=crossing(start, end),
        w2_squared=w2_squared,
        samples=len(x_0),
    )


def path_energy(
    field: BaseField, x_0: Tensor, *, solver: "Solver | str" = "euler", steps: int = 100, **cond: Any
) -> float:
    """E ∫ |v|² dt along the paths of ``field`` from ``x_0`` (B, ...), by `trajectory_energy`."""
    check_samples(x_0, "x_0")
    parts = [trajectory_energy(path, times) for path, times in _trajectories(field, x_0, solver, steps, cond)]
    return float(torch.cat(parts).mean())


def trajectory_energy(trajectory: Tensor, times: Tensor) -> Tensor:
    """sum_k |x_{k+1} − x_k|²/(t_{k+1} − t_k) of ``trajectory`` (K + 1, B, ...) at ``times`` (K + 1,): float64 (B,).

    This is ∫ |v|² dt of the polygon through the states: for Euler's method the energy of the velocities it used, for
    the states of an exact path below its energy by O(1/K²). It needs no evaluation of the field, is finite where the
    velocity is not, and is never below |x_K − x_0|²/(t_K − t_0).
    """
    if trajectory.ndim < 2 or times.shape != trajectory.shape[:1] or len(times) < 2:
        raise ValueError(
            f"trajectory must hold states (K + 1, B, ...) at times (K + 1,), got {tuple(trajectory.shape)} "
            f"and {tuple(times.shape)}"
        )
    gaps = times.double().diff()
    if not bool((gaps > 0.0).all() or (gaps < 0.0).all()):
        raise ValueError(f"times must rise or fall strictly, got {times.tolist()}")
    gaps = gaps.abs()
    squares = trajectory.diff(dim=0).reshape(len(gaps), trajectory.shape[1], -1).double().square().sum(2)
    return (squares / gaps[:, None].to(squares.device)).sum(0)


def crossing(x_0: Tensor, x_1: Tensor) -> float:
    """Share of pairs (i, j) with <x_0_i − x_0_j, x_1_i − x_1_j> < 0: those that exchanging the ends makes cheaper.

    On the line these are the pairs of straight lines that cross. It is 0 for optimal pairs, about 1/2 for independent
    ones, and measures pairs of any kind: a coupling's, or the ends of a flow's paths. ``x_0``, ``x_1`` (B, ...).
    """
    a, b = as_pair(x_0, x_1, minimum=2, names=("x_0", "x_1"))
    if len(a) != len(b):
        raise ValueError(f"crossing needs pairs: as many x_0 as x_1, got {len(a)} and {len(b)}")
    a, b = a - a.mean(0), b - b.mean(0)
    own = (a * b).sum(1)
    scale = 1e-12 * float(a.norm(dim=1).max() * b.norm(dim=1).max())  # rounding is no crossing
    found = 0
    for rows in row_blocks(len(a), len(a)):
        inner = own[rows, None] + own - a[rows] @ b.T - b[rows] @ a.T
        found += int((inner < -scale).sum())
    return found / (len(a) * (len(a) - 1))


def velocity_variance(
    field: BaseField, x_0: Tensor, x_1: Tensor, *, times: "Sequence[float] | None" = None, **cond: Any
) -> float:
    """E ∫ |x_1 − x_0 − u_t(x_t)|² dt over x_t = (1 − t) x_0 + t x_1 for pairs (B, ...) and a field of these pairs.

    With the exact field it is the variance of the direction among the straight lines through a point, which is 0 just
    if lines do not cross (V of Liu et al. 2023, theorem 3.6); with a trained one its loss, which is larger. ``times`` are
    where t is evaluated and averaged, 32 midpoints unless given.
    """
    as_pair(x_0, x_1, names=("x_0", "x_1"))
    if len(x_0) != len(x_1):
        raise ValueError(f"velocity_variance needs pairs: as many x_0 as x_1, got {len(x_0)} and {len(x_1)}")
    moments = [(k + 0.5) / 32 for k in range(32)] if times is None else list(times)
    cond = as_cond(cond, len(x_0), x_0.device)
    total = 0.0
    with torch.no_grad():
        for t in moments:
            velocity = field(torch.lerp(x_0, x_1, t), t, **cond).velocity
            total += float((x_1 - x_0 - velocity).flatten(1).double().square().sum(1).mean())
    return total / len(moments)


def _trajectories(
    field: BaseField, x_0: Tensor, solver: "Solver | str", steps: int, cond: dict[str, Any]
) -> Iterator[tuple[Tensor, Tensor]]:
    solver = as_solver(solver)
    if solver.stochastic:
        raise ValueError(f"path energy is for paths of the ODE, which {solver!r} does not follow: use 'euler' or 'rk4'")
    cond = as_cond(cond, len(x_0), x_0.device)
    size = max(1, _KEPT // ((steps + 1) * max(1, x_0[0].numel())))
    for start in range(0, len(x_0), size):
        part = slice(start, start + size)
        chosen: dict[str, Any] = {
            name: value[part] if isinstance(value, Tensor) and value.ndim else value for name, value in cond.items()
        }
        solution = solve(field, x_0[part], solver=solver, steps=steps, **chosen)
        if solution.trajectory is None:
            raise ValueError(f"{solver!r} keeps no trajectory")
        yield solution.trajectory, solution.times
