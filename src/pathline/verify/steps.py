"""What exponential solvers and samplers of diffusion are (theory T36, T37)."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.paths import AffinePath
from pathline.schedules import Schedule
from pathline.solvers import SOLVERS, Noise, integrate
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, order, value
from pathline.verify.reference import MIXTURE, SCHEDULES, Mixture, Numbers, at, coefs_at, gap, generator

Kernel: TypeAlias = Callable[[Numbers, Numbers, Tensor], tuple[float, Tensor]]
"""(coefs at a, coefs at b, lambda (n,)) -> (factor of x_a, weight of D under the integral)."""
Step: TypeAlias = Callable[[BaseField, Tensor, float, float], Tensor]
"""(field, x_t, t, s) -> x_s."""

_SMOOTH = Mixture((-1.0, 1.0), (0.6, 0.5), (0.4, 0.6))
_LEVEL = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
_COUNTS = (16, 32, 64)
_ORDERS = {"ddim": 1, "dpmpp_2m": 2, "deis2": 2, "ab2": 2}


def _legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1] by the eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    off = k / (4.0 * k**2 - 1.0) ** 0.5
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return values, 2.0 * vectors[0] ** 2


def _transferred(kernel: Kernel, schedule: Schedule, t: float, s: float) -> float:
    """Gap of x_b from x_a and the integral of D along the exact trajectories, which keep their quantiles."""
    a, b = coefs_at(schedule, t), coefs_at(schedule, s)
    first, last = (float(schedule.log_snr(at(time))) for time in (t, s))
    nodes, weights = _legendre(48)
    lambdas = 0.5 * (first + last) + 0.5 * (last - first) * nodes
    factor, weight = kernel(a, b, lambdas)
    c = schedule(schedule.t_of_logsnr(lambdas)[:, None])
    x = _SMOOTH.quantile(_LEVEL.expand(len(lambdas), -1), c.alpha, c.sigma)
    times = schedule.t_of_logsnr(lambdas).repeat_interleave(len(_LEVEL))
    data = _SMOOTH.oracle(AffinePath(schedule)).evaluate(x.reshape(-1, 1), times).data.reshape(x.shape)
    integral = 0.5 * (last - first) * ((weights * weight) @ data)
    start, end = (_SMOOTH.quantile(_LEVEL, n.alpha, n.sigma) for n in (a, b))
    return gap(factor * start + integral, end)


@cache
def _curves() -> tuple[list[float], dict[str, list[float]]]:
    """(step sizes, errors of each solver of `_ORDERS` on the trigonometric path)."""
    schedule, first, last = SCHEDULES["trig"], 0.1, 0.8
    field = _SMOOTH.oracle(AffinePath(schedule))
    start, truth = (_SMOOTH.quantile(_LEVEL, *coefs_at(schedule, t)[:2])[:, None] for t in (first, last))
    grids = [torch.linspace(first, last, n + 1, dtype=torch.float64) for n in _COUNTS]
    curves = {
        name: [float((integrate(field, start, name, g) - truth).square().mean().sqrt()) for g in grids]
        for name in _ORDERS
    }
    return [(last - first) / n for n in _COUNTS], curves


def _semilinear(kernel: Kernel) -> Outcome:
    readings = [
        bound(f"exact states from t = 0.2 to 0.7, {name}", _transferred(kernel, SCHEDULES[name], 0.2, 0.7), 1e-9)
        for name in ("linear", "trig", "vp")
    ]
    sizes, curves = _curves()
    readings += [order(name, sizes, curves[name], power, 0.25) for name, power in _ORDERS.items()]
    lines = [(name, sizes, curves[name], power) for name, power in _ORDERS.items()]
    return Outcome(readings=tuple(readings), arrays={"lines": lines})


def _draw_orders(axes: Any, outcome: Outcome) -> None:
    style.rates(axes, outcome.arrays["lines"])


T36 = Check(
    id="T36",
    statement="In log-SNR the flow is semi-linear; interpolating D gives DDIM and DPM-Solver++",
    how="Gauss quadrature of D along exact trajectories of a mixture, three schedules; orders of four solvers",
    formulas=(
        r"x_b = \frac{\sigma_b}{\sigma_a}\,x_a + \sigma_b \int_{\lambda_a}^{\lambda_b} e^{\lambda} D(x_\lambda)\,d\lambda",
    ),
    measure=_semilinear,
    right=lambda a, b, lam: (b.sigma / a.sigma, b.sigma * torch.exp(lam)),
    wrong=(
        Mistake(
            name="sigma_a before the integral", formula=lambda a, b, lam: (b.sigma / a.sigma, a.sigma * torch.exp(lam))
        ),
        Mistake(
            name="e^(-lambda), the kernel of noise prediction",
            formula=lambda a, b, lam: (b.sigma / a.sigma, b.sigma * torch.exp(-lam)),
        ),
    ),
    draw=_draw_orders,
)


def _ddim(step: Step) -> Outcome:
    x = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]
    readings: list[Reading] = []
    for name, schedule in SCHEDULES.items():
        path = AffinePath(schedule)
        field, gaps, mixes = MIXTURE.oracle(path), [], []
        for t, s in ((0.2, 0.3), (0.5, 0.8), (0.7, 0.4)):
            a, b = coefs_at(schedule, t), coefs_at(schedule, s)
            estimate = field(x, t)
            euler = b.alpha * (x / a.alpha + (b.sigma / b.alpha - a.sigma / a.alpha) * estimate.noise)
            gaps.append(gap(step(field, x, t, s), euler))
            mixes.append(gap(path.mix(estimate, at(s)), euler))
        readings.append(bound(f"one step against Euler in sigma/alpha, {name}", max(gaps), 1e-9))
        readings.append(bound(f"alpha_s D + sigma_s E against it, {name}", max(mixes), 1e-9))
    found, spread = _posterior("vp", 0.6, 0.65)
    readings += found
    return Outcome(readings=tuple(readings), arrays=spread)


def _posterior(name: str, t: float, s: float, n: int = 40_000) -> tuple[list[Reading], dict[str, Any]]:
    """Ancestral steps from one state against q(x_s | x_t, x_1 = D), the posterior of the noising chain, by Bayes' rule."""
    schedule = SCHEDULES[name]
    a, b = coefs_at(schedule, t), coefs_at(schedule, s)
    field, x = MIXTURE.oracle(AffinePath(schedule)), torch.full((n, 1), 0.7, dtype=torch.float64)
    data = float(field(x[:1], t).data)
    keep = a.alpha / b.alpha  # x_t = keep x_s + noise of variance `added`
    added = a.sigma**2 - keep**2 * b.sigma**2
    precision = 1.0 / b.sigma**2 + keep**2 / added
    mean = (b.alpha * data / b.sigma**2 + keep * 0.7 / added) / precision
    grid = torch.tensor([t, s], dtype=torch.float64)
    end = integrate(field, x, SOLVERS["ancestral"], grid, noise=Noise(generator(1)))
    std = precision**-0.5
    readings = [
        value("ancestral DDPM: mean of the posterior", float(end.mean()), mean, 4.0 * std / n**0.5),
        value("ancestral DDPM: its standard deviation", float(end.std()), std, 4.0 * std / (2 * n) ** 0.5),
        *_family_limit(a, b, mean, std, data),
    ]
    return readings, {"samples": end[:, 0], "mean": mean, "std": std}


def _family_limit(a: Numbers, b: Numbers, mean: float, std: float, data: float) -> list[Reading]:
    """The same step of dx = (u + eta s) dt + sqrt(2 eta) dW at eta = sigma² lambda', D frozen: mean and variance in closed form.

    Along the step x decays as x_s = (sigma_s/sigma_t) k x_t + ..., k = e^(-(lambda_s - lambda_t)), and sigma_s² (1 - k²) is renewed.
    """
    k = (a.alpha / a.sigma) / (b.alpha / b.sigma)
    weight = b.sigma / a.sigma * k
    truth = weight * 0.7 + (b.alpha - weight * a.alpha) * data
    return [
        bound("its mean is that of T14 at eta = sigma² lambda'", abs(mean - truth), 1e-9),
        bound("its deviation is that of T14", abs(std - b.sigma * (1.0 - k**2) ** 0.5), 1e-9),
    ]


def _draw_posterior(axes: Any, outcome: Outcome) -> None:
    mean, std = outcome.arrays["mean"], outcome.arrays["std"]
    x = torch.linspace(mean - 4.0 * std, mean + 4.0 * std, 200, dtype=torch.float64)
    axes.hist(outcome.arrays["samples"].numpy(), bins=80, density=True, color=style.PALE, label="ancestral steps")
    axes.plot(
        x, torch.distributions.Normal(mean, std).log_prob(x).exp(), color=style.RIGHT, label="posterior, by Bayes' rule"
    )
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x_s", "density", "one step of ancestral DDPM from one state")


def _one_step(name: str) -> Step:
    solver = SOLVERS[name]
    return lambda field, x, t, s: solver.step(field, x, at(t), at(s), None)[0]


T37 = Check(
    id="T37",
    statement="DDIM is Euler in sigma/alpha; ancestral DDPM is T14 with eta = sigma² lambda'",
    how="single steps on five schedules, forwards and back; 40,000 ancestral steps against Bayes' rule",
    formulas=(
        r"\frac{x_s}{\alpha_s} = \frac{x_t}{\alpha_t} + \left(\frac{\sigma_s}{\alpha_s} - \frac{\sigma_t}{\alpha_t}\right) E(x_t)",
    ),
    measure=_ddim,
    right=_one_step("ddim"),
    wrong=(
        Mistake(name="Euler in t", formula=_one_step("euler")),
        Mistake(name="Heun in t", formula=_one_step("heun")),
    ),
    draw=_draw_posterior,
)
