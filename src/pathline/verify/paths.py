"""From conditional to marginal: paths, velocities and scores (theory T8-T10)."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Normal

from pathline.field import Field
from pathline.paths import AffinePath
from pathline.predictions import VELOCITY
from pathline.schedules import Linear, Schedule
from pathline.solvers import integrate
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound
from pathline.verify.reference import (
    LINEAR,
    MIXTURE,
    SCHEDULES,
    at,
    coefs_at,
    gap,
    generator,
    gradient,
    kolmogorov,
)

Draw: TypeAlias = Callable[[AffinePath, Tensor, Tensor, Tensor], Tensor]
"""(path, x_0, x_1, t) -> x_t."""
Weigh: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(log p_data(z_j) dz, log p_t(x | z_j)) -> weights of the average over z, (B, J)."""

_Z = torch.linspace(-9.0, 9.0, 1801, dtype=torch.float64)
_LOG_DATA = MIXTURE.marginal().log_prob(_Z) + (_Z[1] - _Z[0]).log()


def _quadrature(schedule: Schedule, t: float, places: Tensor) -> tuple[Tensor, Tensor]:
    """Density and cdf of the marginal at ``places``, both integrals over z."""
    c = coefs_at(schedule, t)
    given_z, data = Normal(c.alpha * _Z, c.sigma), _LOG_DATA.exp()
    return (given_z.log_prob(places[:, None]).exp() * data).sum(1), (given_z.cdf(places[:, None]) * data).sum(1)


def _interpolate(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """The piecewise linear function through (places, values), equally spaced, at x."""
    position = ((x - places[0]) / (places[1] - places[0])).clamp(0.0, len(places) - 1.001)
    left = position.long()
    return torch.lerp(values[left], values[left + 1], position - left)


def _sampled(draw: Draw) -> Outcome:
    n, places = 60_000, torch.linspace(-6.0, 6.0, 241, dtype=torch.float64)
    x_1 = MIXTURE.quantile(torch.rand(n, generator=generator(1), dtype=torch.float64))
    x_0 = torch.randn(n, generator=generator(2), dtype=torch.float64)
    readings, curves = [], []
    for kind in ("linear", "trig"):
        path = AffinePath(SCHEDULES[kind])
        for t in (0.2, 0.6, 0.9):
            density, cdf = _quadrature(path.schedule, t, places)
            x_t = draw(path, x_0, x_1, at(t))
            distance = kolmogorov(x_t, partial(_interpolate, places=places, values=cdf))
            readings.append(bound(f"Kolmogorov distance to the quadrature, {kind}, t = {t}", distance, 0.008))
            if kind == "linear":
                curves.append((t, x_t, density))
        readings.append(bound(f"p_0(.|z) is the source, {kind}", gap(draw(path, x_0, x_1, at(0.0)), x_0), 1e-12))
        readings.append(bound(f"p_1(.|z) is the point z, {kind}", gap(draw(path, x_0, x_1, at(1.0)), x_1), 1e-7))
    return Outcome(readings=tuple(readings), arrays={"x": places, "curves": curves})


def _draw_marginals(axes: Any, outcome: Outcome) -> None:
    for (t, samples, density), colour in zip(outcome.arrays["curves"], style.CYCLE, strict=False):
        axes.hist(samples.numpy(), bins=100, density=True, color=colour, alpha=0.35, histtype="stepfilled")
        axes.plot(outcome.arrays["x"], density, color=colour, linewidth=1.2, label=f"t = {t}")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", "density", "draws and the integral over z, linear path")


T8 = Check(
    id="T8",
    statement="The path runs from the source to each data point; its marginal is the average over the data",
    how="60,000 draws of the path against a quadrature over z, two schedules, three times; both ends",
    formulas=(
        r"p_0(\cdot \mid z) = p_{source}, \quad p_1(\cdot \mid z) = \delta_z, \quad "
        r"p_t(x) = \int p_t(x \mid z)\, p_{data}(z)\, dz",
    ),
    measure=_sampled,
    right=lambda path, x_0, x_1, t: path.sample(x_0, x_1, t),
    wrong=(
        Mistake(
            name="a variance where a standard deviation belongs, alpha x_1 + sqrt(sigma) x_0",
            formula=lambda path, x_0, x_1, t: path.schedule(t).alpha * x_1 + path.schedule(t).sigma ** 0.5 * x_0,
        ),
    ),
    draw=_draw_marginals,
)


def _averaged(weigh: Weigh, schedule: Schedule, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Averages over z of u_t(x|z) and of grad log p_t(x|z) (T11), each of the shape of x, (B,)."""
    c = coefs_at(schedule, t)
    weights = weigh(_LOG_DATA, Normal(c.alpha * _Z, c.sigma).log_prob(x[:, None]))
    velocity = (c.dalpha - c.dsigma / c.sigma * c.alpha) * _Z + (c.dsigma / c.sigma) * x[:, None]
    score = (c.alpha * _Z - x[:, None]) / c.sigma**2
    return (weights * velocity).sum(1), (weights * score).sum(1)


def _posterior(log_data: Tensor, log_given: Tensor) -> Tensor:
    return torch.softmax(log_data + log_given, dim=1)


def _prior(log_data: Tensor, log_given: Tensor) -> Tensor:
    return torch.softmax(log_data + 0.0 * log_given, dim=1)


def _likelihood(log_data: Tensor, log_given: Tensor) -> Tensor:
    return torch.softmax(log_given, dim=1)


_AVERAGES = (
    Mistake(name="averaged over p_data in place of the posterior", formula=_prior),
    Mistake(name="averaged with p_t(x|z) alone, data taken as uniform", formula=_likelihood),
)


def _marginal_velocity(weigh: Weigh) -> Outcome:
    x = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    readings = []
    for name, schedule in SCHEDULES.items():
        field = MIXTURE.oracle(AffinePath(schedule))
        gaps = [gap(_averaged(weigh, schedule, x, t)[0], field(x[:, None], t).velocity[:, 0]) for t in (0.1, 0.5, 0.9)]
        readings.append(bound(f"average against the exact field, {name}", max(gaps), 1e-9))
    level = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    start = Normal(0.0, 1.0).icdf(level).double()[:, None]
    brute = Field(lambda x, t: _averaged(weigh, Linear(), x[:, 0], float(t))[0][:, None], LINEAR, VELOCITY)
    end = integrate(brute, start, "rk4", torch.linspace(0.0, 0.9, 46, dtype=torch.float64))
    moved = MIXTURE.cdf(end[:, 0], 0.9, 0.1)
    readings.append(bound("its flow carries N(0, 1) to p_t, gap of quantiles at t = 0.9", gap(moved, level), 1e-4))
    return Outcome(readings=tuple(readings), arrays=_lines(x, weigh, 0))


def _lines(x: Tensor, weigh: Weigh, which: int) -> dict[str, Any]:
    """Average and exact value over x at three times of the linear path."""
    lines = []
    for t in (0.2, 0.5, 0.8):
        estimate = MIXTURE.oracle(LINEAR)(x[:, None], t)
        exact = (estimate.velocity, estimate.score)[which][:, 0]
        lines.append((t, _averaged(weigh, Linear(), x, t)[which], exact))
    return {"x": x, "lines": lines, "name": ("velocity", "score")[which]}


def _draw_lines(axes: Any, outcome: Outcome) -> None:
    for (t, brute, exact), colour in zip(outcome.arrays["lines"], style.CYCLE, strict=False):
        axes.plot(outcome.arrays["x"], exact, color=colour, linewidth=2.6, alpha=0.4, label=f"exact, t = {t}")
        axes.plot(outcome.arrays["x"], brute, color=colour, linewidth=1.0, linestyle="--")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", outcome.arrays["name"], "average over the posterior (dashed)")


T9 = Check(
    id="T9",
    statement="The marginal velocity is the posterior average of the conditional ones, and its flow ends at the data",
    how="quadrature over 1,801 data points against the exact field, five schedules; flow of the average to quantiles",
    formulas=(
        r"u_t(x) = \mathrm{E}[\,u_t(x \mid x_1) \mid x_t = x\,] = "
        r"\int u_t(x \mid z)\, \frac{p_t(x \mid z)\, p_{data}(z)}{p_t(x)}\, dz",
    ),
    measure=_marginal_velocity,
    right=_posterior,
    wrong=_AVERAGES,
    draw=_draw_lines,
)


def _marginal_score(weigh: Weigh) -> Outcome:
    x = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    readings = []
    for name, schedule in SCHEDULES.items():
        field = MIXTURE.oracle(AffinePath(schedule))
        slopes, gaps = [], []
        for t in (0.1, 0.5, 0.9):
            c = coefs_at(schedule, t)
            average = _averaged(weigh, schedule, x, t)[1]
            slopes.append(gap(average, gradient(MIXTURE.marginal(c.alpha, c.sigma).log_prob, x)))
            gaps.append(gap(average, field(x[:, None], t).score[:, 0]))
        readings.append(bound(f"average against the gradient of log p_t, {name}", max(slopes), 1e-9))
        readings.append(bound(f"average against the exact field, {name}", max(gaps), 1e-9))
    return Outcome(readings=tuple(readings), arrays=_lines(x, weigh, 1))


T10 = Check(
    id="T10",
    statement="The same average of the conditional scores is the score of the marginal",
    how="quadrature over data against the gradient of log p_t by automatic differentiation, five schedules",
    formulas=(r"\nabla \log p_t(x) = \mathrm{E}[\,\nabla \log p_t(x \mid x_1) \mid x_t = x\,]",),
    measure=_marginal_score,
    right=_posterior,
    wrong=_AVERAGES,
    draw=_draw_lines,
)
