"""The integral of the divergence over the states that a solver visits on a grid (theory T7)."""

from typing import Any

import torch
from torch import Tensor

from pathline._typing import Cond
from pathline.field import BaseField
from pathline.likelihood.traces import Estimator, with_divergence
from pathline.paths.base import Estimate
from pathline.solvers.base import Bound, Solver
from pathline.solvers.integrate import run

PROBE = "_probe"
"""The condition that carries random directions."""
FINE = 48
"""Intervals from which a quadrature of degree 5 pays: on coarser grids it oscillates where a flow turns quickly."""


def flat(v: Tensor) -> Tensor:
    """(B, ...) as (B, D), scalars included."""
    return v.reshape(len(v), -1)


class Remembering(BaseField):
    """A field that is asked for its divergence at the states of a solve, and spares the solver's call there."""

    def __init__(self, field: BaseField, method: Estimator) -> None:
        self.field, self.method = field, method
        self.path, self.prediction, self.branches = field.path, field.prediction, field.branches
        self.seen: tuple[Tensor, float, Estimate] | None = None
        """The last state looked at, its time, and the estimate there."""

    def look(self, x: Tensor, t: Tensor, cond: Cond) -> tuple[Tensor, Estimate]:
        """div u_t(x), (B,), and the estimate."""
        rest = {name: value for name, value in cond.items() if name != PROBE}
        estimate, div = with_divergence(self.field, x, t, self.method, cond.get(PROBE), rest)
        self.seen = x, float(t), estimate
        return div.double(), estimate

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        if self.seen is not None and x_t is self.seen[0] and t.ndim == 0 and float(t) == self.seen[1]:
            return self.seen[2]
        cond.pop(PROBE, None)
        return self.field.evaluate(x_t, t, **cond)

    def singular(self, t: Tensor) -> bool:
        return self.field.singular(t)

    def carried(self) -> Cond:
        return self.field.carried()


def quadrature(
    field: BaseField, x: Tensor, solver: Solver, times: Tensor, method: Estimator, cond: Cond, corrected: bool
) -> tuple[Tensor, Tensor]:
    """(x_0, -int_0^1 div u dt): the integral from the divergence at the visited states."""
    for end in (times[0], times[-1]):
        if field.singular(end):
            raise ValueError(
                f"at t={float(end):g} no velocity can be read from {field.prediction}: end the grid before"
            )
    seen, values, visited = Remembering(field, method), [], []

    def look(state: Tensor, t: Tensor) -> None:
        div, estimate = seen.look(state, t, cond)
        values.append(div)
        if corrected:  # at the data end sigma may be 0: no score can be read there
            visited.append((state, estimate.velocity, estimate.score if len(values) > 1 else None))

    look(x, times[0])
    x_0 = run(Bound(seen, cond), x, solver, times, callback=lambda i, t, state: look(state, t)).x
    weights = interval_weights(times).to(x.device)
    integral = torch.stack(values, 1) @ weights.sum(0)
    return x_0, integral - _defect(visited, weights) if corrected else integral


def _defect(visited: list[tuple[Tensor, Tensor, Tensor | None]], weights: Tensor) -> Tensor:
    """sum over the intervals of s . (dx - int u dt), (B,): what log p gains where the states leave the flow.

    From d/dt log p_t(x_t) = s . (dx/dt - u) - div u along any curve (T2). s is the mean over both ends of an interval, at
    the data end that of the other one.
    """
    velocities = torch.stack([flat(velocity).double() for _, velocity, _ in visited])
    moved = torch.tensordot(weights, velocities, dims=1)
    total = moved.new_zeros(moved.shape[1])
    for (start, _, before), (end, _, after), step in zip(visited[:-1], visited[1:], moved, strict=True):
        if after is None:
            raise RuntimeError("only the data end has no score")
        score = after if before is None else 0.5 * (before + after)
        total = total + (flat(score).double() * (flat(end - start).double() - step)).sum(1)
    return total


def interval_weights(times: Tensor) -> Tensor:
    """Weights w (n, n + 1) with sum_j w_ij f(t_j) = int f dt from times[i] to times[i + 1], float64.

    On each interval f is the polynomial through its nearest times: of degree 3, of degree 5 on grids of `FINE` intervals or more;
    exact for polynomials of that degree on any grid.
    """
    times = times.detach().double().cpu()
    n = len(times) - 1
    degree = min(n, 3 if n < FINE else 5)
    first = (torch.arange(n) - (degree - 1) // 2).clamp(0, n - degree)
    stencil = first[:, None] + torch.arange(degree + 1)
    half = 0.5 * times.diff()[:, None]
    local = (times[stencil] - 0.5 * (times[:-1] + times[1:])[:, None]) / half
    powers = torch.arange(degree + 1)
    moments = torch.where(powers % 2 == 0, 2.0 / (powers + 1.0), 0.0).double()
    vandermonde = local[:, None, :] ** powers[:, None]
    rows = torch.linalg.solve(vandermonde, moments.expand(n, -1)) * half
    return torch.zeros(n, n + 1, dtype=torch.float64).scatter_(1, stencil, rows)
