"""A whole solve as one function of the state, for `torch.compile` and `torch.export`."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import Tensor

from pathline.field import BaseField
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import as_solver, check_grid
from pathline.solvers.multistep import Multistep
from pathline.solvers.singlestep import Singlestep


def unroll(field: BaseField, solver: "Solver | str", grid: Tensor) -> Callable[..., Tensor]:
    """(x, **cond) -> the state at the end of ``grid``, the same as `integrate`, with coefficients that are constants.

    ``torch.compile(unroll(field, "ab2", grid))`` is one graph with the network inlined once per evaluation. For
    deterministic solvers of fixed steps; the others choose their way while they run.
    """
    solver = as_solver(solver)
    if solver.stochastic or solver.adaptive:
        raise ValueError("only deterministic solvers of fixed steps can be unrolled: take one such as 'heun' or 'ab2'")
    grid = check_grid(grid)
    first = None
    if isinstance(solver, (Multistep, Singlestep)):  # their start depends on the grid alone
        first = solver.start(Bound(field), grid.new_empty(0), grid, Noise())

    def run(x: Tensor, **cond: Any) -> Tensor:
        bound, state = Bound(field, cond), first
        for t, s in steps:
            x, state = solver.step(bound, x, t, s, state)
        return x

    steps = list(pairwise(grid.unbind()))
    return run
