"""Explicit Runge-Kutta methods as tableaux (theory T4)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pathline.field import BaseField
from pathline.predictions import combine
from pathline.solvers.base import Bound, Solver, as_time, bind, eager_inference


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
        h = s - t
        stages: list[Tensor] = []
        for row, c in zip(tableau.a, tableau.c, strict=True):
            time = t if c == 0.0 else (s if c == 1.0 else t + c * h)
            stages.append(field(advance(x, h, row, stages), time).velocity)
        return advance(x, h, tableau.b, stages), state


def advance(x: Tensor, h: Tensor, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """x + h sum_i w_i k_i."""
    # where no gradient can reach h, a number in its place spares an operation and a state in memory
    step = h.item() if eager_inference() else h
    for w, k in zip(weights, slopes, strict=True):
        if w != 0.0:
            x = combine(1.0, x, step if w == 1.0 else step * w, k)
    return x
