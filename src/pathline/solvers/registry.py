"""Every solver by its name."""

from pathline.solvers.base import Solver
from pathline.solvers.runge_kutta import EULER, HEUN, MIDPOINT, RALSTON3, RK4, RungeKutta
from pathline.solvers.sde import EulerMaruyama

SOLVERS: dict[str, Solver] = {
    "euler": RungeKutta(EULER, 1),
    "midpoint": RungeKutta(MIDPOINT, 2),
    "heun": RungeKutta(HEUN, 2),
    "ralston3": RungeKutta(RALSTON3, 3),
    "rk4": RungeKutta(RK4, 4),
    "euler_maruyama": EulerMaruyama(),
}
