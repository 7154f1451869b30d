"""Data prediction and data of low dimension, in exact linear algebra (theory T19).

Data x_1 = P z, z ~ N(0, I_2), in a random plane of R^D. The best predictor of p = a x_1 + b x_0 is linear in x_t: it multiplies
the part of x_t in the plane by (a alpha + b sigma)/(alpha² + sigma²), the rest by b/sigma. A network of width k computes a
map of rank k; the best one keeps the k largest of the canonical values |a alpha + b sigma|/sqrt(alpha² + sigma²) (twice)
and |b| (D - 2 times), and its excess loss is the sum of the squares of those dropped. b = 0 only for data prediction.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from pathline.field import Field
from pathline.predictions import DATA, NOISE, VELOCITY, Prediction
from pathline.solvers import integrate
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound
from pathline.verify.reference import LINEAR, coefs_at, generator

_WIDTH = 8
_SIZES = (2, 8, 32, 128, 512)
_PREDICTIONS = (DATA, VELOCITY, NOISE)


def _plane(size: int) -> Tensor:
    """P, (D, 2), with orthonormal columns."""
    return torch.linalg.qr(torch.randn(size, 2, generator=generator(size), dtype=torch.float64)).Q


def _excess(prediction: Prediction, size: int, t: float) -> float:
    """Excess loss of the best map of rank `_WIDTH` over the best map, in closed form."""
    c = coefs_at(LINEAR.schedule, t)
    a, b = prediction.row(c)
    inside = (a * c.alpha + b * c.sigma) ** 2 / (c.alpha**2 + c.sigma**2)
    values = torch.tensor([inside] * 2 + [b**2] * (size - 2), dtype=torch.float64).sort(descending=True).values
    return float(values[_WIDTH:].sum())


@cache
def _fitted(prediction: Prediction, size: int, t: float, n: int = 6000) -> float:
    """The same from data: reduced-rank regression on n draws, judged under the true covariances."""
    plane, c = _plane(size), coefs_at(LINEAR.schedule, t)
    x_1 = torch.randn(n, 2, generator=generator(1), dtype=torch.float64) @ plane.T
    x_0 = torch.randn(n, size, generator=generator(2), dtype=torch.float64)
    x_t = c.alpha * x_1 + c.sigma * x_0
    gram = x_t.T @ x_t
    full = torch.linalg.solve(gram, x_t.T @ prediction.of(c, x_1, x_0))
    kept = torch.linalg.eigh(full.T @ gram @ full).eigenvectors[:, -_WIDTH:]
    limited = full @ kept @ kept.T
    projector = plane @ plane.T
    covariance = c.alpha**2 * projector + c.sigma**2 * torch.eye(size, dtype=torch.float64)
    off = limited - _best(prediction, plane, t)
    return float((off.T @ covariance @ off).trace())


def _best(prediction: Prediction, plane: Tensor, t: float) -> Tensor:
    """The best linear predictor, symmetric (D, D)."""
    c = coefs_at(LINEAR.schedule, t)
    a, b = prediction.row(c)
    projector = plane @ plane.T
    inside, outside = (a * c.alpha + b * c.sigma) / (c.alpha**2 + c.sigma**2), b / c.sigma
    return inside * projector + outside * (torch.eye(len(plane), dtype=plane.dtype) - projector)


def _limited_field(prediction: Prediction, plane: Tensor) -> Field:
    """The best network of width `_WIDTH`: at each time the largest canonical values are kept."""
    size = len(plane)
    basis = torch.linalg.qr(torch.cat([plane, torch.eye(size, dtype=plane.dtype)], 1)[:, :size]).Q

    def net(x: Tensor, t: Tensor) -> Tensor:
        c = coefs_at(LINEAR.schedule, float(t))
        a, b = (float(entry) for entry in prediction.row(c))
        spread = (c.alpha**2 + c.sigma**2) ** 0.5
        gains = torch.full((size,), b / max(c.sigma, 1e-9), dtype=x.dtype)
        gains[:2] = (a * c.alpha + b * c.sigma) / spread**2
        weight = torch.full((size,), abs(b), dtype=x.dtype)
        weight[:2] = abs(a * c.alpha + b * c.sigma) / spread
        kept = weight.argsort(descending=True, stable=True)[:_WIDTH]
        return ((x @ basis[:, kept]) * gains[kept]) @ basis[:, kept].T

    return Field(net, LINEAR, prediction)


@cache
def _generated(prediction: Prediction, size: int) -> tuple[float, float]:
    """(root mean square distance of samples to where the flow takes them, P P^T x_0; share of it off the plane)."""
    plane = _plane(size)
    x_0 = torch.randn(64, size, generator=generator(3), dtype=torch.float64)
    end = integrate(_limited_field(prediction, plane), x_0, "midpoint", torch.linspace(0.02, 1.0, 50).double())
    inside = end @ plane @ plane.T
    truth = x_0 @ plane @ plane.T
    return float((end - truth).square().sum(1).mean().sqrt()), float((end - inside).square().sum(1).mean().sqrt())


def _low_rank(prediction: Prediction) -> Outcome:
    readings = []
    for other in _PREDICTIONS:
        gaps = [abs(_fitted(other, size, 0.4) - _excess(other, size, 0.4)) / size for size in (2, 8, 32, 128)]
        readings.append(
            bound(f"{other}: fitted maps of rank 8 against the closed form, per dimension", max(gaps), 0.03)
        )
    for size in _SIZES:
        readings.append(
            bound(f"excess loss of {prediction} at width 8, D = {size}", _excess(prediction, size, 0.4), 1e-12)
        )
        readings.append(bound(f"samples off their place, D = {size}", _generated(prediction, size)[0], 0.05))
    off = {str(other): [_generated(other, size)[1] for size in _SIZES] for other in _PREDICTIONS}
    return Outcome(readings=tuple(readings), arrays={"sizes": _SIZES, "off": off})


def _draw_low_rank(axes: Any, outcome: Outcome) -> None:
    for (name, curve), colour in zip(outcome.arrays["off"].items(), style.CYCLE, strict=False):
        axes.plot(outcome.arrays["sizes"], curve, "o-", color=colour, label=name, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=7, frameon=False)
    style.label(
        axes, "dimension D of the space", "distance to the plane", "samples of width-8 networks, data in a plane"
    )


T19 = Check(
    id="T19",
    statement="With data of dimension 2 in R^D a narrow network can predict data, not noise or velocity",
    how="best linear predictors of rank 8 in closed form, by regression on 6,000 draws, and as samplers, D = 2 to 512",
    formulas=(
        r"p^*(x_t) = \frac{a\alpha + b\sigma}{\alpha^2 + \sigma^2}\,PP^T x_t + \frac{b}{\sigma}\,(I - PP^T)\,x_t, \qquad "
        r"\mathrm{rank} = 2 \ \mathrm{if}\ b = 0,\ D\ \mathrm{else}",
    ),
    measure=_low_rank,
    right=DATA,
    wrong=(
        Mistake(name="noise prediction said to do as well", formula=NOISE),
        Mistake(name="velocity prediction said to do as well", formula=VELOCITY),
    ),
    draw=_draw_low_rank,
)
