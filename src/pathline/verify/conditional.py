"""The Gaussian conditional path, and how straight the linear one is (theory T11, T12)."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Normal

from pathline.field import Field
from pathline.paths import AffineEstimate, AffinePath
from pathline.predictions import DATA, VELOCITY
from pathline.schedules import Linear, Schedule
from pathline.solvers import integrate
from pathline.testing import oracles
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, value
from pathline.verify.reference import (
    SCHEDULES,
    TRIG,
    at,
    coefs_at,
    derivative,
    gap,
    generator,
    gradient,
)

Read: TypeAlias = Callable[[AffinePath, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(path, x_t, t, z) -> (u_t(x_t|z), score of p_t(.|z) at x_t)."""


def _conditional(read: Read) -> Outcome:
    readings = []
    for name, schedule in SCHEDULES.items():
        moves, slopes = zip(*(_conditional_gaps(read, AffinePath(schedule), t) for t in (0.05, 0.5, 0.95)), strict=True)
        readings.append(bound(f"u_t(x_t|z) against dx_t/dt, {name}", max(moves), 1e-9))
        readings.append(bound(f"score against grad log N(alpha z, sigma²), {name}", max(slopes), 1e-9))
    times = torch.linspace(0.0, 1.0, 61, dtype=torch.float64)
    curves = {name: _three_paths(AffinePath(SCHEDULES[name]), times) for name in ("linear", "trig", "vp")}
    return Outcome(readings=tuple(readings), arrays={"t": times, "curves": curves})


def _conditional_gaps(read: Read, path: AffinePath, t: float) -> tuple[float, float]:
    """Gaps of velocity and score at 200 pairs."""
    z = torch.randn(200, 1, generator=generator(3), dtype=torch.float64)
    x_0 = torch.randn(200, 1, generator=generator(4), dtype=torch.float64)
    x_t, c = path.sample(x_0, z, at(t)), coefs_at(path.schedule, t)
    velocity, score = read(path, x_t, at(t), z)
    moving = derivative(lambda s: path.sample(x_0, z, s), at(t), 1e-4)
    slope = gradient(lambda x: Normal(c.alpha * z, c.sigma).log_prob(x).sum(1), x_t)
    return gap(velocity, moving), gap(score, slope)


def _three_paths(path: AffinePath, times: Tensor) -> Tensor:
    """x_t of the pairs (x_0, 1) with x_0 in (-1, 0, 2), (T, 3)."""
    x_0 = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64).expand(len(times), 3)
    return path.sample(x_0, torch.ones_like(x_0), times)


def _draw_conditional(axes: Any, outcome: Outcome) -> None:
    for (name, curve), colour in zip(outcome.arrays["curves"].items(), style.CYCLE, strict=False):
        lines = axes.plot(outcome.arrays["t"], curve, color=colour, linewidth=1.2)
        lines[0].set_label(name)
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "t", "x", "conditional paths to z = 1")


def _by_data(path: AffinePath, x_t: Tensor, t: Tensor, z: Tensor) -> AffineEstimate:
    return path.read(x_t, t, DATA, z)


def _flipped(path: AffinePath, x_t: Tensor, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    c = path.schedule(t)
    ratio = c.dsigma / c.sigma
    return (c.dalpha + ratio * c.alpha) * z + ratio * x_t, _by_data(path, x_t, t, z).score


def _unsquared(path: AffinePath, x_t: Tensor, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    c = path.schedule(t)
    return _by_data(path, x_t, t, z).velocity, -(x_t - c.alpha * z) / c.sigma


T11 = Check(
    id="T11",
    statement="Velocity and score of the Gaussian path p_t(x|z) = N(alpha z, sigma²)",
    how="time derivative of x_t by finite differences; gradient of the normal log-density; five schedules",
    formulas=(
        r"u_t(x \mid z) = \left(\dot\alpha_t - \frac{\dot\sigma_t}{\sigma_t}\alpha_t\right) z + \frac{\dot\sigma_t}{\sigma_t}\, x",
        r"\nabla \log p_t(x \mid z) = -\frac{x - \alpha_t z}{\sigma_t^2} = -\frac{\varepsilon}{\sigma_t}",
    ),
    measure=_conditional,
    right=lambda path, x_t, t, z: (_by_data(path, x_t, t, z).velocity, _by_data(path, x_t, t, z).score),
    wrong=(
        Mistake(name="alpha' + (sigma'/sigma) alpha: a sign", formula=_flipped),
        Mistake(name="the score divided by sigma once", formula=_unsquared),
    ),
    draw=_draw_conditional,
)


def _straight(schedule: Schedule) -> Outcome:
    path = AffinePath(schedule)
    z = torch.randn(50, 2, generator=generator(5), dtype=torch.float64)
    x_0 = torch.randn(50, 2, generator=generator(6), dtype=torch.float64)
    times = torch.tensor([0.0, 0.3, 0.6, 0.9], dtype=torch.float64)
    moving = torch.stack([_by_data(path, path.sample(x_0, z, t), t, z).velocity for t in times])
    jumps = [
        gap(integrate(Field(lambda x, t: z, path, DATA), path.sample(x_0, z, t), "euler", torch.stack([t, at(1.0)])), z)
        for t in times
    ]

    def shrink(x: Tensor, t: Tensor) -> Tensor:  # the coupling x_1 = x_0/2 is straight: x_t = (alpha/2 + sigma) x_0
        c = schedule(t)
        return (0.5 * c.dalpha + c.dsigma) / (0.5 * c.alpha + c.sigma) * x

    unit = torch.linspace(0.0, 1.0, 2, dtype=torch.float64)
    coupled = integrate(Field(shrink, path, VELOCITY), x_0, "euler", unit)
    readings = [
        bound("u_t(x_t|z) = x_1 - x_0 at every t", gap(moving, (z - x_0).expand_as(moving)), 1e-12),
        bound("one Euler step along a conditional path", max(jumps), 1e-12),
        bound("one Euler step along a straight coupling", gap(coupled, 0.5 * x_0), 1e-12),
        *_euler_off(path),
    ]
    counts = (1, 2, 4, 8, 16, 32)
    return Outcome(readings=tuple(readings), arrays={"n": counts, "off": [_off(path, n) for n in counts]})


def _off(path: AffinePath, steps: int) -> float:
    """|std/(1/2) - 1| after ``steps`` Euler steps of the flow of N(0, 1) -> N(0, 1/4)."""
    field = oracles.gaussian(torch.zeros(1).double(), 0.25 * torch.eye(1).double(), path)
    one = torch.ones(1, 1, dtype=torch.float64)
    end = integrate(field, one, "euler", torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64))
    return abs(float(end) / 0.5 - 1.0)


def _euler_off(path: AffinePath) -> list[Reading]:
    return [
        value("one Euler step on N(0, 1) -> N(0, 1/4), share off", _off(path, 1), 1.0, 1e-9),
        value("two Euler steps on it, share off", _off(path, 2), 0.6, 1e-9),
    ]


def _draw_off(axes: Any, outcome: Outcome) -> None:
    counts = [str(n) for n in outcome.arrays["n"]]
    bars = axes.bar(counts, [100.0 * off for off in outcome.arrays["off"]], color=style.RIGHT)
    axes.bar_label(bars, fmt="%.0f %%", fontsize=7)
    style.label(axes, "Euler steps", "error of the std, %", "N(0, 1) to N(0, 1/4): the marginal flow is not straight")


T12 = Check(
    id="T12",
    statement="On the linear path u_t(x|z) = x_1 - x_0: Euler is exact per pair, not on the marginal field",
    how="velocities along pairs; one step per pair and on a straight coupling; 100 % and 60 % off on a Gaussian",
    formulas=(r"\alpha_t = t, \quad \sigma_t = 1 - t, \quad \frac{d}{dt} x_t = x_1 - x_0",),
    measure=_straight,
    right=Linear(),
    wrong=(Mistake(name="the trigonometric path taken for straight", formula=TRIG.schedule),),
    draw=_draw_off,
)
