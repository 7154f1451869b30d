"""Stochastic processes: Fokker-Planck, Euler-Maruyama, Langevin (theory T3, T5, T6)."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.solvers import EulerMaruyama, Solver, as_time
from pathline.solvers.brownian import BrownianTree
from pathline.solvers.processes import (
    SDE,
    BrownianMotion,
    GeometricBrownianMotion,
    Langevin,
    OrnsteinUhlenbeck,
    Process,
)
from pathline.solvers.simulate import simulate
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, order, value
from pathline.verify.reference import MIXTURE, derivative, gap, generator, gradient, kolmogorov, moments

Make: TypeAlias = Callable[[Callable[[Tensor], Tensor], float], Process]
"""(log_prob, g) -> a process that is to keep that density."""

_CELLS = torch.linspace(-2.8, 2.8, 401, dtype=torch.float64)
_G = 0.8


def _well(x: Tensor, t: Tensor) -> Tensor:
    """-U' of the double well U = x⁴/4 - x²/2, tilted."""
    return x - x**3 + 0.2


def _generator(diffusivity: float) -> Tensor:
    """The Fokker-Planck operator -d/dx(f .) + diffusivity d²/dx² on cells with closed ends, (n, n)."""
    width = _CELLS[1] - _CELLS[0]
    between = 0.5 * (_CELLS[1:] + _CELLS[:-1])
    drift = _well(between, between)
    out_left, out_right = 0.5 * drift + diffusivity / width, -0.5 * drift + diffusivity / width
    # probability per time that crosses from cell i to i + 1, and from i + 1 to i
    matrix = torch.zeros(len(_CELLS), len(_CELLS), dtype=torch.float64)
    matrix.diagonal(-1).copy_(out_left / width)
    matrix.diagonal(1).copy_(out_right / width)
    return matrix - torch.diag(matrix.sum(0))


def _fokker_planck(diffusivity: Callable[[float], float]) -> Outcome:
    times, n = (0.0, 0.25, 1.0, 4.0), 30_000
    x = 0.25 * torch.randn(n, 1, generator=generator(1), dtype=torch.float64) - 0.6
    start = torch.distributions.Normal(-0.6, 0.25).log_prob(_CELLS).exp()
    density = start / start.sum()
    process, noise = SDE(_well, _G), generator(2)
    operator, width = _generator(diffusivity(_G)), float(_CELLS[1] - _CELLS[0])
    readings, snapshots = [], []
    for t, s in pairwise(times):
        steps = torch.linspace(t, s, round((s - t) / 0.0125) + 1, dtype=torch.float64)
        x = simulate(process, x, steps, method="heun", generator=noise, record=False).x
        density = torch.matrix_exp(operator * (s - t)) @ density
        distance = kolmogorov(x, _cell_cdf(density))
        readings.append(bound(f"Kolmogorov distance of particles to the equation, t = {s}", distance, 0.014))
        snapshots.append((s, x[:, 0], density / width))
    stationary = torch.exp(2.0 * (_CELLS**2 / 2.0 - _CELLS**4 / 4.0 + 0.2 * _CELLS) / _G**2)
    rest = operator @ (stationary / stationary.sum())
    readings.append(bound("the equation rests at exp(-2U/g²)", float(rest.abs().max()), 1e-3))
    readings.append(bound("residual of the exact Ornstein-Uhlenbeck density", _ou_residual(diffusivity), 1e-8))
    return Outcome(readings=tuple(readings), arrays={"x": _CELLS, "snapshots": snapshots})


def _cell_cdf(mass: Tensor) -> Callable[[Tensor], Tensor]:
    """The distribution function of ``mass`` spread evenly over each cell."""
    width = _CELLS[1] - _CELLS[0]
    edges = torch.cat([mass.new_zeros(1), mass.cumsum(0)])

    def cdf(x: Tensor) -> Tensor:
        place = ((x - _CELLS[0]) / width + 0.5).clamp(0.0, len(mass) - 1e-9)
        left = place.long()
        return torch.lerp(edges[left], edges[left + 1], place - left)

    return cdf


def _ou_residual(diffusivity: Callable[[float], float]) -> float:
    """max |dp/dt + (p f)' - k p''| of N(x_0 e^(-theta t), g²(1 - e^(-2 theta t))/(2 theta)), share of max |dp/dt|."""
    theta, g, x_0 = 1.3, 0.9, 1.5
    x = torch.linspace(-2.0, 3.0, 201, dtype=torch.float64)

    def density(x: Tensor, t: Tensor) -> Tensor:
        mean, variance = x_0 * torch.exp(-theta * t), g**2 * (1.0 - torch.exp(-2.0 * theta * t)) / (2.0 * theta)
        return torch.exp(-0.5 * (x - mean) ** 2 / variance) / (2.0 * math.pi * variance) ** 0.5

    t = torch.tensor(0.4, dtype=torch.float64)
    change = derivative(lambda s: density(x, s), t, 1e-4)
    outflow = derivative(lambda y: -theta * y * density(y, t), x)
    spread = derivative(lambda y: derivative(lambda z: density(z, t), y), x)
    return float((change + outflow - diffusivity(g) * spread).abs().max() / change.abs().max())


def _draw_snapshots(axes: Any, outcome: Outcome) -> None:
    for (t, samples, density), colour in zip(outcome.arrays["snapshots"], style.CYCLE, strict=False):
        axes.hist(samples.numpy(), bins=90, density=True, color=colour, alpha=0.35, histtype="stepfilled")
        axes.plot(outcome.arrays["x"], density, color=colour, linewidth=1.2, label=f"t = {t}")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", "density", "particles and the Fokker-Planck equation, double well")


T3 = Check(
    id="T3",
    statement="The density of an SDE obeys the Fokker-Planck equation, with diffusivity g²/2",
    how="30,000 particles in a double well against the solved equation; residual of the exact Ornstein-Uhlenbeck density",
    formulas=(
        r"dX_t = u_t(X_t)\,dt + g_t\,dW_t \quad \Rightarrow \quad "
        r"\frac{\partial}{\partial t} p_t = -\nabla \cdot (p_t u_t) + \frac{g_t^2}{2}\,\Delta p_t",
    ),
    measure=_fokker_planck,
    right=lambda g: 0.5 * g**2,
    wrong=(
        Mistake(name="g² in place of g²/2", formula=lambda g: g**2),
        Mistake(name="g/2 in place of g²/2", formula=lambda g: 0.5 * g),
    ),
    draw=_draw_snapshots,
)


def _strong(process: Process, method: Solver, counts: tuple[int, ...], n: int, finest: int) -> list[float]:
    """Mean |X_h - X| at t = 1 on the same Brownian paths; X exact for geometric Brownian motion, else on a fine grid."""
    x_0, tree = torch.ones(n, 1, dtype=torch.float64), BrownianTree(range(n))
    if isinstance(process, GeometricBrownianMotion):
        truth = process.exact(x_0, 1.0, tree.at(x_0, 1.0))
    else:
        truth = simulate(process, x_0, torch.linspace(0, 1, finest + 1).double(), noise=tree, record=False).x
    return [float((_end(process, method, x_0, tree, steps) - truth).abs().mean()) for steps in counts]


def _weak(method: Solver, counts: tuple[int, ...], n: int = 10_000) -> list[float]:
    """|E X_h² - E X²| of geometric Brownian motion at t = 1, the noise of the mean removed by the exact solution."""
    process = GeometricBrownianMotion(mu=0.8, g=0.5)
    x_0, tree = torch.ones(n, 1, dtype=torch.float64), BrownianTree(range(n))
    truth = process.exact(x_0, 1.0, tree.at(x_0, 1.0))
    return [float((_end(process, method, x_0, tree, steps) ** 2 - truth**2).mean().abs()) for steps in counts]


def _end(process: Process, method: Solver, x_0: Tensor, tree: BrownianTree, steps: int) -> Tensor:
    grid = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    return simulate(process, x_0, grid, method=method, noise=tree, record=False).x


def _orders(method: Solver) -> Outcome:
    curves = {
        "strong, geometric": ((8, 16, 32, 64), 0.5, 0.1),
        "strong, additive": ((4, 8, 16, 32), 1.0, 0.15),
        "weak, geometric": ((8, 16, 32), 1.0, 0.2),
    }
    errors = {
        "strong, geometric": _strong(
            GeometricBrownianMotion(mu=0.5, g=1.0), method, curves["strong, geometric"][0], 2000, 0
        ),
        "strong, additive": _strong(
            OrnsteinUhlenbeck(theta=2.0, g=1.0), method, curves["strong, additive"][0], 500, 256
        ),
        "weak, geometric": _weak(method, curves["weak, geometric"][0]),
    }
    readings, lines = [], []
    for name, (counts, truth, tolerance) in curves.items():
        sizes = [1.0 / n for n in counts]
        readings.append(order(name, sizes, errors[name], truth, tolerance))
        lines.append((name, sizes, errors[name], truth))
    theta, g, h = 2.0, 1.0, 0.25
    x = torch.zeros(40_000, 1, dtype=torch.float64)
    grid = torch.arange(25, dtype=torch.float64) * h
    end = simulate(OrnsteinUhlenbeck(theta=theta, g=g), x, grid, method=method, generator=generator(3), record=False).x
    rest = g**2 / (2.0 * theta - theta**2 * h)
    readings.append(value("stationary variance on Ornstein-Uhlenbeck, g²/(2θ - θ²h)", moments(end)[1], rest, 0.008))
    return Outcome(readings=tuple(readings), arrays={"lines": lines})


def _draw_orders(axes: Any, outcome: Outcome) -> None:
    style.rates(axes, outcome.arrays["lines"], "error at t = 1")


class _Unrooted(EulerMaruyama):
    """The increment g h z in place of g sqrt(h) z."""

    def step(self, field: Any, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        end, state = EulerMaruyama.step(self, field, x, t, s, state)
        h = as_time(s) - as_time(t)
        drifted = x + h * field(x, t).velocity
        return drifted + h.abs() ** 0.5 * (end - drifted), state


T5 = Check(
    id="T5",
    statement="Euler-Maruyama: strong order 1/2, 1 for additive noise; weak order 1",
    how="the same Brownian paths at four step sizes against exact solutions; the closed-form bias in equilibrium",
    formulas=(r"X_{t+h} = X_t + h\,u_t(X_t) + g_t \sqrt{h}\,z, \qquad z \sim N(0, I)",),
    measure=_orders,
    right=EulerMaruyama(),
    wrong=(Mistake(name="the noise scaled by h in place of sqrt(h)", formula=_Unrooted()),),
    draw=_draw_orders,
)


def _langevin(make: Make) -> Outcome:
    x = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    start = MIXTURE.quantile((torch.arange(8_000, dtype=torch.float64) + 0.5) / 8_000)[:, None]
    readings, ends = [], {}
    for g in (0.7, math.sqrt(2.0), 2.0):
        process = make(lambda x: MIXTURE.marginal().log_prob(x).flatten(1).sum(1), g)
        readings.append(bound(f"Fokker-Planck residual at p, g = {g:.2f}", _at_rest(process, x, g), 1e-6))
        grid = torch.linspace(0.0, 0.8, 81, dtype=torch.float64)
        end = simulate(process, start, grid, method="heun", generator=generator(4), record=False).x
        ends[g] = end[:, 0]
        readings.append(bound(f"Kolmogorov distance after 0.8, g = {g:.2f}", kolmogorov(end, MIXTURE.cdf), 0.02))
    theta, g = 1.5, 0.8
    normal = make(lambda x: -0.5 * (x**2).flatten(1).sum(1) / (g**2 / (2.0 * theta)), g)
    drift = normal.drift(x[:, None], x.new_zeros(()))
    ou = OrnsteinUhlenbeck(theta=theta, g=g)
    readings.append(
        bound("Langevin for N(0, g²/(2θ)) is Ornstein-Uhlenbeck", gap(drift, ou.drift(x[:, None], x)), 1e-12)
    )
    return Outcome(readings=(*readings, *_transitions(ou)), arrays={"x": x, "ends": ends})


def _at_rest(process: Process, x: Tensor, g: float) -> float:
    """max |-(p f)' + g²/2 p''| as a share of max |g²/2 p''|."""
    zero = x.new_zeros(())
    outflow = derivative(lambda y: MIXTURE.density(y) * process.drift(y[:, None], zero)[:, 0], x)
    spread = 0.5 * g**2 * derivative(lambda y: derivative(MIXTURE.density, y), x)
    return float((spread - outflow).abs().max() / spread.abs().max())


def _transitions(ou: OrnsteinUhlenbeck) -> list[Reading]:
    """Mean and variance after 0.7 of Ornstein-Uhlenbeck and of Brownian motion against the closed forms."""
    n, t = 40_000, 0.7
    x_0 = torch.full((n, 1), 1.2, dtype=torch.float64)
    grid = torch.linspace(0.0, t, 41, dtype=torch.float64)
    decay = math.exp(-ou.theta * t)
    mean, variance, _ = moments(simulate(ou, x_0, grid, method="heun", generator=generator(5), record=False).x)
    brown = simulate(BrownianMotion(g=0.9), x_0, grid, generator=generator(6), record=False).x
    return [
        value("Ornstein-Uhlenbeck: mean", mean, 1.2 * decay, 0.01),
        value("Ornstein-Uhlenbeck: variance", variance, ou.g**2 * (1.0 - decay**2) / (2.0 * ou.theta), 0.005),
        value("Brownian motion: variance", moments(brown)[1], 0.9**2 * t, 0.015),
    ]


def _draw_langevin(axes: Any, outcome: Outcome) -> None:
    for (g, samples), colour in zip(outcome.arrays["ends"].items(), style.CYCLE, strict=False):
        axes.hist(samples.numpy(), bins=100, density=True, color=colour, histtype="step", label=f"g = {g:.2f}")
    axes.plot(outcome.arrays["x"], MIXTURE.density(outcome.arrays["x"]), color=style.INK, linewidth=1.0, label="p")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", "density", "Langevin dynamics for 0.8, started in p")


def _at_root_two(log_prob: Callable[[Tensor], Tensor], g: float) -> Process:
    return SDE(lambda x, t: gradient(log_prob, x), g)


T6 = Check(
    id="T6",
    statement="Langevin dynamics keeps p for every g; Ornstein-Uhlenbeck is its Gaussian case",
    how="Fokker-Planck residual at p for three g, 8,000 particles started in p; closed-form mean and variance",
    formulas=(
        r"dX = \frac{g^2}{2} \nabla \log p(X)\,dt + g\,dW \quad \mathrm{keeps\ } p",
        r"dX = -\theta X dt + g\,dW: \quad N\!\left(x_0 e^{-\theta t},\ g^2 (1 - e^{-2\theta t})/(2\theta)\right)",
    ),
    measure=_langevin,
    right=Langevin,
    wrong=(Mistake(name="dX = grad log p dt + g dW for any g (right at g = sqrt(2) alone)", formula=_at_root_two),),
    draw=_draw_langevin,
)
