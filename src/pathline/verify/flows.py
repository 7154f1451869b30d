"""Flows: existence and uniqueness, the continuity equation, the order of ODE solvers (theory T1, T2, T4)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField, Field
from pathline.paths import AffineEstimate, AffinePath
from pathline.predictions import VELOCITY
from pathline.schedules import Schedule
from pathline.solvers import SOLVERS, RungeKutta, Solver, Tableau, integrate
from pathline.solvers.base import bind
from pathline.solvers.integrate import run
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound, order
from pathline.verify.reference import LINEAR, MIXTURE, SCHEDULES, Mixture, coefs_at, derivative, gap, generator

Velocity: TypeAlias = Callable[[AffineEstimate], Tensor]

_LAST = 0.98


def _flow(field: BaseField) -> Outcome:
    x_0 = torch.randn(400, 1, generator=generator(1), dtype=torch.float64).sort(0).values
    grid = torch.linspace(0.0, _LAST, 201, dtype=torch.float64)
    states = [x_0]
    run(bind(field), x_0, SOLVERS["rk4"], grid, callback=lambda step, t, x: states.append(x))
    forth = torch.stack(states)
    back = integrate(field, forth[-1], "rk4", grid.flip(0))
    gaps = forth[..., 0].diff(dim=1)
    normal = torch.distributions.Normal(0.0, 1.0)
    level = MIXTURE.cdf(forth[-1], _LAST, 1.0 - _LAST)
    readings = (
        bound("forth and back returns to the start", gap(back, x_0), 1e-6),
        bound("share of neighbours that cross", float((gaps <= 0.0).double().mean()), 0.0),
        bound("a path keeps its quantile: |F_t(psi_t(x)) - F_0(x)|", gap(level, normal.cdf(x_0)), 1e-6),
    )
    return Outcome(readings=readings, arrays={"t": grid, "paths": forth[:, ::16, 0]})


def _root(x: Tensor, t: Tensor) -> Tensor:
    """-2 sign(x) |x|^(1/3): not Lipschitz at 0, where different starts meet in finite time."""
    return -2.0 * x.sign() * x.abs() ** (1.0 / 3.0)


def _own_target(x: Tensor, t: Tensor) -> Tensor:
    """Each particle towards a data point of its own: no function of (x, t)."""
    z = MIXTURE.oracle(LINEAR).sample_data(len(x), generator(2))
    return (z - x) / (1.0 - t)


def _draw_paths(axes: Any, outcome: Outcome) -> None:
    axes.plot(outcome.arrays["t"], outcome.arrays["paths"], color=style.RIGHT, linewidth=0.6)
    style.label(axes, "t", "x", "paths of the flow never cross")


T1 = Check(
    id="T1",
    statement="The flow of a Lipschitz field exists, is unique and invertible; paths never cross",
    how="RK4 forth and back on a mixture; order and quantile of 400 particles against the exact cdf",
    formulas=(r"\frac{d}{dt} X_t = u_t(X_t), \quad X_t = \psi_t(X_0), \quad \psi_t^{-1}(\psi_t(x)) = x",),
    measure=_flow,
    right=MIXTURE.oracle(LINEAR),
    wrong=(
        Mistake(name="a field that is not Lipschitz, -2 sign(x) |x|^(1/3)", formula=Field(_root, LINEAR, VELOCITY)),
        Mistake(name="a velocity per particle in place of a field", formula=Field(_own_target, LINEAR, VELOCITY)),
    ),
    draw=_draw_paths,
)


def _residual(schedule: Schedule, velocity: Velocity, t: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """dp/dt + d(pu)/dx at the points (t, x), and max |dp/dt|."""
    field, c = MIXTURE.oracle(AffinePath(schedule)), schedule(t)

    def density(t: Tensor) -> Tensor:
        moved = schedule(t)
        return MIXTURE.density(x, moved.alpha, moved.sigma)

    def flux(x: Tensor) -> Tensor:
        return MIXTURE.density(x, c.alpha, c.sigma) * velocity(field.evaluate(x[:, None], t))[:, 0]

    change = derivative(density, t, 1e-4)
    return change + derivative(flux, x), float(change.abs().max())


def _continuity(velocity: Velocity) -> Outcome:
    times = torch.linspace(0.04, 0.96, 47, dtype=torch.float64)
    places = torch.linspace(-5.0, 5.0, 401, dtype=torch.float64)
    t, x = (axis.flatten() for axis in torch.meshgrid(times, places, indexing="ij"))
    readings, residuals = [], {}
    for name, schedule in SCHEDULES.items():
        residuals[name], size = _residual(schedule, velocity, t, x)
        error = float(residuals[name].abs().max()) / size
        readings.append(bound(f"residual on {name}, share of max |dp/dt|", error, 1e-6))
    residual = residuals["trig"].reshape(len(times), len(places))
    return Outcome(readings=tuple(readings), arrays={"x": places, "t": times, "residual": residual})


def _draw_residual(axes: Any, outcome: Outcome) -> None:
    residual = outcome.arrays["residual"].T.abs().clamp(min=1e-16).log10()
    extent = (*outcome.arrays["t"][[0, -1]].tolist(), *outcome.arrays["x"][[0, -1]].tolist())
    image = axes.imshow(residual, origin="lower", aspect="auto", extent=extent, vmin=-14.0, vmax=0.0, cmap="magma")
    axes.figure.colorbar(image, ax=axes, label="log10 |residual|")
    style.label(axes, "t", "x", "dp/dt + d(pu)/dx, trigonometric path")


T2 = Check(
    id="T2",
    statement="The velocity moves the density: d/dt p_t = -div(p_t u_t)",
    how="finite differences of the reference density against those of p_t u_t, five schedules, 401 x 47 points",
    formulas=(r"\frac{\partial}{\partial t} p_t(x) = -\nabla \cdot (p_t u_t)(x)",),
    measure=_continuity,
    right=lambda estimate: estimate.velocity,
    wrong=(
        Mistake(
            name="the noise part forgotten, u = alpha' D",
            formula=lambda estimate: estimate.coefs.dalpha * estimate.data,
        ),
        Mistake(
            name="the score added without its noise (T14's drift in the flow)",
            formula=lambda estimate: estimate.velocity + 0.05 * estimate.score,
        ),
    ),
    draw=_draw_residual,
)

_STEPS = (16, 32, 64, 128)
_SMOOTH = Mixture((-1.0, 1.0), (0.6, 0.5), (0.4, 0.6))


def _orders(solvers: Mapping[str, tuple[Solver, int]]) -> Outcome:
    level = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    first, last = 0.05, 0.8
    sizes = [(last - first) / n for n in _STEPS]
    readings, curves = [], {}
    for kind in ("linear", "trig"):
        field = _SMOOTH.oracle(AffinePath(SCHEDULES[kind]))
        start, truth = (_SMOOTH.quantile(level, *coefs_at(SCHEDULES[kind], t)[:2])[:, None] for t in (first, last))
        for name, (solver, power) in solvers.items():
            grids = [torch.linspace(first, last, n + 1, dtype=torch.float64) for n in _STEPS]
            errors = [float((integrate(field, start, solver, g) - truth).square().mean().sqrt()) for g in grids]
            readings.append(order(f"{name}, {kind}", sizes, errors, power))
            curves.setdefault(name, errors)
    lines = [(name, sizes, curves[name], power) for name, (_, power) in solvers.items()]
    return Outcome(readings=tuple(readings), arrays={"lines": lines})


def _draw_orders(axes: Any, outcome: Outcome) -> None:
    style.rates(axes, outcome.arrays["lines"])


_LATE = RungeKutta(Tableau(((), (1.0,)), (0.5, 0.5), (0.0, 0.0)), 2)
_KUTTA = RungeKutta(
    Tableau(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (0.25, 0.25, 0.25, 0.25), (0.0, 0.5, 0.5, 1.0)), 4
)

T4 = Check(
    id="T4",
    statement="Euler has order 1, Heun and midpoint 2, RK4 4",
    how="error against exact quantiles of a mixture at 16 to 128 steps, two schedules",
    formulas=(
        r"X_{t+h} = X_t + h\, u_t(X_t) \quad (\mathrm{Euler})",
        r"X_{t+h} = X_t + \frac{h}{2}\,[u_t(X_t) + u_{t+h}(X_t + h\, u_t(X_t))] \quad (\mathrm{Heun})",
    ),
    measure=_orders,
    right={
        "euler": (SOLVERS["euler"], 1),
        "heun": (SOLVERS["heun"], 2),
        "midpoint": (SOLVERS["midpoint"], 2),
        "rk4": (SOLVERS["rk4"], 4),
    },
    wrong=(
        Mistake(name="Heun's second slope at t in place of t + h", formula={"heun": (_LATE, 2)}),
        Mistake(name="RK4 with equal weights", formula={"rk4": (_KUTTA, 4)}),
    ),
    draw=_draw_orders,
)
