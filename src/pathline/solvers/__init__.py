"""Solvers, and the loop that runs them."""

from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.integrate import Solution, integrate
from pathline.solvers.registry import SOLVERS
from pathline.solvers.runge_kutta import RungeKutta, Tableau
from pathline.solvers.sampling import sample, solve
from pathline.solvers.sde import EulerMaruyama

__all__ = [
    "Bound", "EulerMaruyama", "Noise", "RungeKutta", "SOLVERS", "Solution", "Solver", "Tableau",
    "as_time", "bind", "integrate", "sample", "solve",
]  # fmt: skip
