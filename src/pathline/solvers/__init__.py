"""Solvers, and the loop that runs them."""

from pathline.solvers import grids, processes
from pathline.solvers.adaptive import Adaptive, dopri5, tsit5
from pathline.solvers.base import Bound, Counts, Noise, Solver, as_time, bind
from pathline.solvers.brownian import BrownianTree
from pathline.solvers.choosing import Choice, choose
from pathline.solvers.edm_churn import EDMChurn
from pathline.solvers.exponential import LOG_SNR, RATIO, SHARE, Clock
from pathline.solvers.integrate import Solution, integrate
from pathline.solvers.multistep import Multistep
from pathline.solvers.nonstationary import NonStationary, load_solver
from pathline.solvers.registry import SOLVERS
from pathline.solvers.runge_kutta import RungeKutta, Tableau
from pathline.solvers.sampling import sample, solve
from pathline.solvers.sde import ETAS, EulerMaruyama, Family, StochasticHeun
from pathline.solvers.sde_multistep import SDEMultistep
from pathline.solvers.simulate import simulate
from pathline.solvers.singlestep import Singlestep
from pathline.solvers.tuning import tune
from pathline.solvers.unrolled import unroll

__all__ = [
    "Adaptive", "Bound", "BrownianTree", "Choice", "Clock", "Counts", "EDMChurn", "ETAS", "EulerMaruyama", "Family", "LOG_SNR",
    "Multistep", "Noise", "NonStationary", "RATIO", "RungeKutta", "SDEMultistep", "SHARE", "SOLVERS", "Singlestep",
    "Solution", "Solver", "StochasticHeun", "Tableau", "as_time", "bind", "choose", "dopri5", "grids", "integrate", "load_solver",
    "processes", "sample", "simulate", "solve", "tsit5", "tune", "unroll",
]  # fmt: skip
