"""`choose`: which solver on which grid, by trial on noise of the field itself (theory T39)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline.field import BaseField
from pathline.solvers import grids
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import as_cond
from pathline.solvers.registry import SOLVERS
from pathline.solvers.sampling import draw_source, evaluating

SHORTLIST = ("abm1", "abm2", "abm3", "abm4", "ab2", "ab3", "unipc3", "ralston3", "rk4")
"""Solvers that were best at some budget on some field."""
SCREENED, FITTED = 128, 4
"""On how many noises all solvers are compared, and how many of them get a fitted grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A solver and its grid, with the RMS error of its endpoints on noise that the grid was not fitted to."""

    name: str
    solver: Solver
    grid: Tensor
    error: float


def choose(
    field: BaseField,
    evaluations: int,
    shape_or_x_0: "Tensor | Sequence[int]",
    *,
    solvers: Sequence[str] = SHORTLIST,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Choice:
    """The solver and the grid to take for a budget of ``evaluations``, by trial on source points (B, ...), best about 1,000.

    1. Every solver runs on closed-form grids and on those of equal local errors, on the first 128 points.
    2. The 4 best get the grid that `grids.fit` finds on the first half of the points.
    3. Of those pairs, fitted and not, the one with the least endpoint error on the second half is chosen.

    The second half is needed: where the flow divides, one point that ends elsewhere outweighs hundreds in an RMS, and a
    grid can be bent until all points that it is fitted to end right (0.015 on 128 such points of digits, 0.06 on others).

    >>> import torch, pathline as pl
    >>> from pathline.solvers import choose
    >>> field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
    >>> chosen = choose(field, 6, (64, 2), solvers=("ab2", "abm2"), generator=torch.Generator().manual_seed(0))
    >>> x_1 = pl.sample(field, (16, 2), solver=chosen.solver, grid=chosen.grid)
    """
    if not isinstance(evaluations, int) or evaluations < 1:
        raise ValueError(f"evaluations must be a positive integer, got {evaluations!r}")
    budget = evaluations - int(field.path.stops_short())
    fits = {name: _steps(lookup("solver", name, SOLVERS), budget, name) for name in solvers}
    fits = {name: steps for name, steps in fits.items() if steps > 1} or {n: s for n, s in fits.items() if s}
    if not fits:
        raise ValueError(f"none of {', '.join(solvers)} makes a step of {evaluations} evaluations: give more")
    field.check_conditions(cond)
    with evaluating(field), torch.inference_mode():
        given = isinstance(shape_or_x_0, Tensor)
        x_0 = shape_or_x_0 if given else draw_source(field, shape_or_x_0, Noise(generator))
        if len(x_0) < 4:
            raise ValueError(f"need at least 4 source points, half of them to fit and half to judge, got {len(x_0)}")
        whole = Bound(field, as_cond(cond, len(x_0), x_0.device))
        fit_on, judge_on = torch.arange(len(x_0)).tensor_split(2)
        order = max(SOLVERS[name].order for name in fits)
        fine = max(48, 2 * evaluations)
        pilot = grids.pilot_solve(whole.take(fit_on), x_0[fit_on], fine, order, generator)
        judge = grids.judge(whole.take(judge_on), x_0[judge_on], pilot)
        few = pilot.first(SCREENED)
        first = {
            name: grids.ranked(few, SOLVERS[name], grids.candidates(pilot, steps, SOLVERS[name].order))
            for name, steps in fits.items()
        }
        found: list[Choice] = []
        for name in sorted(first, key=lambda name: first[name][0][0])[:FITTED]:
            solver = SOLVERS[name]
            best = grids.ranked(pilot, solver, [grid for _, grid in first[name][: 2 * grids.STARTS]])
            found += [
                Choice(name=name, solver=solver, grid=grid, error=judge.error(solver, grid))
                for grid in (best[0][1], grids.refined(pilot, solver, best))
            ]
    return min(found, key=lambda choice: choice.error)


def _steps(solver: Solver, budget: int, name: str) -> int:
    """Steps that a budget pays for, 0 if none."""
    if solver.stochastic or solver.adaptive:
        raise ValueError(f"{name} draws noise or chooses its own steps: name deterministic solvers of fixed steps")
    return max((n for n in range(1, budget + 1) if solver.evaluations(n) <= budget), default=0)
