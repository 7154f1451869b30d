"""A solver that does something beside the steps of another one."""

from typing import Any

from torch import Tensor

from pathline.solvers.base import Solver
from pathline.solvers.integrate import as_solver


class Around(Solver):
    """Steps `inner`: its grid and its cost are those of ``solver``, which a subclass has as a field."""

    solver: "Solver | str"

    @property
    def inner(self) -> Solver:
        """The solver that steps."""
        return as_solver(self.solver)

    def own_grid(self, path: Any) -> Tensor | None:
        return self.inner.own_grid(path)

    def evaluations(self, steps: int) -> int:
        return self.inner.evaluations(steps)
