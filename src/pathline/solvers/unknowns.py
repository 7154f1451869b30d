"""The unknowns of a non-stationary solver, and the solve as a function of them (theory T40).

A vector holds the gaps of the times (n + 1, logits), the weights of the source (n) and those of the displacements
(n (n + 1)/2).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pathline._typing import Cond
from pathline.field import BaseField
from pathline.predictions import DISPLACEMENT
from pathline.solvers.base import Bound
from pathline.solvers.course import Course, follow
from pathline.solvers.nonstationary import NonStationary, clock_of, combine_slopes
from pathline.solvers.robust import squared
from pathline.solvers.sampling import start_where_defined


@dataclass(frozen=True)
class Shape:
    """Which unknowns a fit has: ``times``, ``coefficients`` or ``all``; the order of the start and of derived rows."""

    what: str
    order: int


@dataclass
class Problem:
    """Particles, where they should end, and the solver as a function of its unknowns."""

    field: BaseField
    x_0: Tensor
    target: Tensor
    cond: Cond
    n: int
    chunk: int
    course: Course | None = None
    """Where the particles should be on the way; None if their ends alone count."""

    def on_the_way(self) -> "Problem | None":
        """The same with the way, of as many particles as there is room for; None if it leads most of them elsewhere."""
        course = follow(self.field, self.x_0, self.target, self.cond, self.chunk)
        return None if course is None else replace(self.first(len(course.trusted)), course=course)

    def first(self, count: int) -> "Problem":
        """The same of the first ``count`` particles."""
        return self.rows(0, count)

    def rows(self, start: int, stop: int) -> "Problem":
        """The same of some particles."""
        rows = slice(start, min(stop, len(self.x_0)))
        return replace(
            self,
            x_0=self.x_0[rows],
            target=self.target[rows],
            cond=Bound(self.field, self.cond).take(torch.arange(rows.start, rows.stop)).cond,
            course=None if self.course is None else self.course.take(rows),
        )

    def parts(self, chunk: int | None = None) -> list["Problem"]:
        """The same of some particles after the other."""
        step = self.chunk if chunk is None else chunk
        return [self.rows(start, start + step) for start in range(0, len(self.x_0), step)]


def unpack(unknowns: Tensor, n: int, shape: Shape, problem: Problem) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """(t, r, a, rows of b) of a vector of unknowns."""
    first = first_time(problem.field)
    t = first + (1.0 - first) * torch.cumsum(torch.softmax(unknowns[: n + 1], 0), 0)[:n]
    r, _ = clock_of(problem.field.path.schedule, t)
    if shape.what == "times":
        begin, _ = clock_of(problem.field.path.schedule, t.new_zeros(()))
        return t, r, torch.ones_like(t), adams_bashforth(r, begin, shape.order)
    weights = unknowns[2 * n + 1 :]
    rows = [weights[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(n)]
    return t, r, unknowns[n + 1 : 2 * n + 1], rows


def pack(t: Tensor, rows: list[Tensor], first: float) -> Tensor:
    """Unknowns of times t (n,) and rows of b, with all source weights 1."""
    ends = torch.cat([t.new_full((1,), first), t, t.new_ones(1)])
    gaps = (ends.diff() / (1.0 - first)).clamp(min=1e-3)
    return torch.cat([torch.log(gaps), torch.ones_like(t), *rows])


def adams_bashforth(r: Tensor, begin: Tensor, order: int) -> list[Tensor]:
    """Rows of b that integrate the polynomial through the last ``order`` displacements from ``begin`` to each next time."""
    nodes, weights = (each.to(r.device) for each in _gauss())
    ends = torch.cat([r[1:], r.new_ones(1)])
    rows: list[Tensor] = []
    before = r.new_zeros(0)
    for i in range(len(r)):
        low, high = (r[i] if i else begin), ends[i]
        at = low + (high - low) * nodes
        known = r[max(0, i + 1 - order) : i + 1]
        basis = []
        for j in range(len(known)):
            others = torch.cat([known[:j], known[j + 1 :]])
            factors = (at[:, None] - others) / (known[j] - others)
            basis.append((weights * factors.prod(1)).sum() * (high - low))
        new = torch.cat([r.new_zeros(i + 1 - len(known)), torch.stack(basis)])
        before = torch.cat([before, r.new_zeros(1)]) + new
        rows.append(before)
    return rows


def _gauss() -> tuple[Tensor, Tensor]:
    """Four Gauss-Legendre nodes and weights on [0, 1], exact to degree 7."""
    inner, outer = (math.sqrt(3 / 7 - sign * 2 / 7 * math.sqrt(6 / 5)) for sign in (1.0, -1.0))
    heavy, light = ((18.0 + sign * math.sqrt(30.0)) / 36.0 for sign in (1.0, -1.0))
    nodes = torch.tensor([-outer, -inner, inner, outer], dtype=torch.float64)
    return 0.5 * (nodes + 1.0), 0.5 * torch.tensor([light, heavy, heavy, light], dtype=torch.float64)


class Misses:
    """How far off the particles of ``problem`` are, as a differentiable function of unknowns that are near ``here``.

    (B, k, ...): at the end, and where the way counts at the states of the n - 1 clocks before it, from a course that is straight
    near the clocks of ``here``: exact there, and so is its derivative.
    """

    def __init__(self, problem: Problem, shape: Shape, here: Tensor) -> None:
        self.problem, self.shape = problem, shape
        self.bound, self.course = Bound(problem.field, problem.cond), []
        if problem.course is not None:
            _, r, _, _ = unpack(here, problem.n, shape, problem)
            trusted = problem.course.trusted.reshape(-1, *(1,) * (problem.x_0.ndim - 1))
            self.course = [(r_i, trusted, *problem.course.at(r_i)) for r_i in r[1:].detach().cpu()]

    def __call__(self, unknowns: Tensor, *, recompute: bool = False) -> Tensor:
        r, states = visited(unknowns, self.shape, self.problem, self.bound, recompute)
        off = [
            trusted * (state - (y + (clock - at) * slope))
            for clock, state, (at, trusted, y, slope) in zip(r[1:], states[:-1], self.course)
        ]
        return torch.stack([states[-1] - self.problem.target, *off], 1)


def visited(
    unknowns: Tensor, shape: Shape, problem: Problem, bound: Bound, recompute: bool
) -> tuple[Tensor, list[Tensor]]:
    """(clocks, states after each of them) of the particles under the solver of these unknowns; differentiable."""
    n, schedule = problem.n, problem.field.path.schedule
    t, r, a, rows = unpack(unknowns, n, shape, problem)
    first = problem.field.path.start(problem.x_0) / clock_of(schedule, t.new_zeros(()))[1]
    scales = clock_of(schedule, t)[1].expand(n)

    def slope(y: Tensor, time: Tensor, scale: Tensor) -> Tensor:
        return bound(scale * y, time).read(DISPLACEMENT)

    y, slopes, states = first, (), []
    for i in range(n):
        args = (y, t[i], scales[i])
        new = checkpoint(slope, *args, use_reentrant=False) if recompute else slope(*args)
        slopes = (*slopes, new)
        y = combine_slopes(first, a[i], rows[i].unbind(), slopes)
        states.append(y)
    return r, states


def to_solver(field: BaseField, unknowns: Tensor, n: int, shape: Shape) -> NonStationary:
    """The solver of a vector of unknowns."""
    _, r, a, rows = unpack(unknowns, n, shape, Problem(field, unknowns, unknowns, {}, n, 1))
    return NonStationary(clock=tuple(r.tolist()), a=tuple(a.tolist()), b=tuple(tuple(row.tolist()) for row in rows))


def first_time(field: BaseField) -> float:
    return float(start_where_defined(field, torch.tensor([0.0, 1.0], dtype=torch.float64))[0])


@torch.no_grad()
def misses(problem: Problem, unknowns: Tensor, shape: Shape) -> Tensor:
    """How far off each particle is, squared, mean over its entries, and over its states if the way counts, float64 (B,)."""
    return torch.cat([squared(Misses(part, shape, unknowns)(unknowns)) for part in problem.parts()])
