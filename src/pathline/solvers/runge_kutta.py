"""Explicit Runge-Kutta methods as tableaux (theory T4)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._autograd import eager_inference
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.predictions import combine
from pathline.solvers.base import Bound, Solver, as_time, bind


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau: stage i is taken at t + c_i h from x + h sum_j a_ij k_j; the step adds h sum_i b_i k_i."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]


EULER = Tableau(((),), (1.0,), (0.0,))
MIDPOINT = Tableau(((), (0.5,)), (0.0, 1.0), (0.0, 0.5))
HEUN = Tableau(((), (1.0,)), (0.5, 0.5), (0.0, 1.0))
RALSTON = Tableau(((), (2 / 3,)), (0.25, 0.75), (0.0, 2 / 3))
SSPRK3 = Tableau(((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3), (0.0, 1.0, 0.5))
RALSTON3 = Tableau(((), (0.5,), (0.0, 0.75)), (2 / 9, 1 / 3, 4 / 9), (0.0, 0.5, 0.75))
RK4 = Tableau(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0))


@dataclass(frozen=True)
class RungeKutta(Solver):
    """x_s = x_t + h sum_i b_i u(x_i, t + c_i h), h = s - t.

    Where a stage would fall on an end at which the network's prediction says nothing about the velocity (data
    prediction at t = 1), that one step is taken by the midpoint rule, or by Euler for Euler: one step of lower order
    beside the end leaves the order of the whole at min(order, 2).
    """

    tableau: Tableau
    order: int

    def evaluations(self, steps: int) -> int:
        return steps * len(self.tableau.b)

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        field, t, s = bind(field), as_time(t), as_time(s)
        tableau = self.tableau
        if 1.0 in tableau.c and field.singular(s):
            tableau = MIDPOINT
        h = s.item() - t.item() if eager_inference() else s - t
        x_s = x
        slopes: dict[int, Tensor] = {}
        for i, (row, c) in enumerate(zip(tableau.a, tableau.c, strict=True)):
            point = x
            for j, w in enumerate(row):
                point = add(x, point, w, h, slopes.get(j))
            if i:
                slopes = {j: k for j, k in slopes.items() if any(later[j] for later in tableau.a[i + 1 :])}
            slopes[i] = field(point, t if c == 0.0 else (s if c == 1.0 else t + c * h)).velocity
            del point
            x_s = add(x, x_s, tableau.b[i], h, slopes[i])
        return x_s, state


def add(x: Tensor, total: Tensor, weight: float, step: Scalar, slope: Tensor | None) -> Tensor:
    """total + step weight slope, in the memory of ``total`` where that is neither ``x`` nor seen by a gradient."""
    if weight == 0.0 or slope is None:
        return total
    if isinstance(step, float):
        if total is x:
            return torch.add(total, slope, alpha=step * weight)
        if total.dtype == slope.dtype:
            return total.add_(slope, alpha=step * weight)
    return combine(1.0, total, step if weight == 1.0 else step * weight, slope)
