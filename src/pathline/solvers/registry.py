"""Every solver by its name."""

from pathline.predictions import DATA, DISPLACEMENT, NOISE
from pathline.solvers.adaptive import dopri5, tsit5
from pathline.solvers.base import Solver
from pathline.solvers.edm_churn import EDMChurn
from pathline.solvers.exponential import LOG_SNR, RATIO, SHARE, midpoint_moment, plain_moment
from pathline.solvers.multistep import Multistep
from pathline.solvers.runge_kutta import EULER, HEUN, MIDPOINT, RALSTON, RALSTON3, RK4, SSPRK3, RungeKutta
from pathline.solvers.sde import EulerMaruyama, StochasticHeun
from pathline.solvers.sde_multistep import SDEMultistep
from pathline.solvers.singlestep import Singlestep

SOLVERS: dict[str, Solver] = {
    # Runge-Kutta for the velocity
    "euler": RungeKutta(EULER, 1),
    "midpoint": RungeKutta(MIDPOINT, 2),
    "heun": RungeKutta(HEUN, 2),
    "ralston": RungeKutta(RALSTON, 2),
    "ralston3": RungeKutta(RALSTON3, 3),
    "ssprk3": RungeKutta(SSPRK3, 3),
    "rk4": RungeKutta(RK4, 4),
    "dopri5": dopri5(),
    "tsit5": tsit5(),
    # multistep: (row, clock, nodes)
    "ddim": Multistep(DISPLACEMENT, SHARE, 1),
    "ab2": Multistep(DISPLACEMENT, SHARE, 2),
    "ab3": Multistep(DISPLACEMENT, SHARE, 3),
    "ab4": Multistep(DISPLACEMENT, SHARE, 4),
    "abm1": Multistep(DISPLACEMENT, SHARE, 1, corrector=True),
    "abm2": Multistep(DISPLACEMENT, SHARE, 2, corrector=True),
    "abm3": Multistep(DISPLACEMENT, SHARE, 3, corrector=True),
    "abm4": Multistep(DISPLACEMENT, SHARE, 4, corrector=True),
    "deis2": Multistep(NOISE, RATIO, 2),
    "deis3": Multistep(NOISE, RATIO, 3),
    "lms": Multistep(NOISE, RATIO, 4),
    "dpm2": Multistep(NOISE, LOG_SNR, 2),
    "dpm3": Multistep(NOISE, LOG_SNR, 3),
    "dpmpp_2m": Multistep(DATA, LOG_SNR, 2, moment=midpoint_moment),
    "dpmpp_3m": Multistep(DATA, LOG_SNR, 3),
    "unipc": Multistep(DATA, LOG_SNR, 2, corrector=True, moment=midpoint_moment),
    "unipc2": Multistep(DATA, LOG_SNR, 2, corrector=True, moment=midpoint_moment),
    "unipc3": Multistep(DATA, LOG_SNR, 3, corrector=True, moment=midpoint_moment),
    "unipc2_bh1": Multistep(DATA, LOG_SNR, 2, corrector=True, moment=plain_moment),
    "unipc3_bh1": Multistep(DATA, LOG_SNR, 3, corrector=True, moment=plain_moment),
    # singlestep: stages inside the step
    "dpmpp_2s": Singlestep(DATA, LOG_SNR, ((0.5, (0,)), (1.0, (1,))), 2),
    "dpmpp_3s": Singlestep(DATA, LOG_SNR, ((1 / 3, (0,)), (2 / 3, (0, 1)), (1.0, (0, 2))), 3),
    # stochastic
    "euler_maruyama": EulerMaruyama(),
    "stochastic_heun": StochasticHeun(),
    "ancestral": SDEMultistep(1),
    "edm_churn": EDMChurn(),
    "sde_dpmpp_2m": SDEMultistep(2, moment=midpoint_moment),
}
"""Solvers by the name that `sample`, `solve` and the command line take."""
