"""Likelihood: the instantaneous change of variables, estimated divergences, bits per dimension (theory T7)."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from pathline import likelihood
from pathline.field import BaseField, Field
from pathline.paths import AffinePath
from pathline.predictions import VELOCITY
from pathline.schedules import VP
from pathline.testing import oracles
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, value
from pathline.verify.reference import LINEAR, MIXTURE, TRIG, coefs_at, generator, plane


class LogProb(Protocol):
    """`pathline.log_prob`, or what is taken for it."""

    def __call__(self, field: BaseField, x_1: Tensor, **options: Any) -> Tensor: ...


_MEANS = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-0.5, -2.0]], dtype=torch.float64)
_STD = 0.5


def _likelihoods(log_prob: LogProb) -> Outcome:
    x = torch.linspace(-3.5, 3.5, 71, dtype=torch.float64)
    points = 1.6 * torch.randn(60, 2, generator=generator(1), dtype=torch.float64)
    on_line, in_plane = MIXTURE.marginal().log_prob(x), plane(_MEANS, _STD, 1.0, 0.0).log_prob(points)
    line = log_prob(MIXTURE.oracle(LINEAR), x[:, None], solver="rk4", steps=40)
    trig = log_prob(oracles.gaussian_mixture(_MEANS, _STD, None, TRIG), points, solver="rk4", steps=30)
    # alpha_0 > 0: the source of the VP flow is p_0, not N(0, I)
    start, vp_path = coefs_at(VP(), 0.0), AffinePath(VP())
    source = plane(_MEANS, _STD, start.alpha, start.sigma).log_prob
    vp = log_prob(oracles.gaussian_mixture(_MEANS, _STD, None, vp_path), points, solver="rk4", steps=40, source=source)
    readings = (
        bound("log p on the line, linear", float((line - on_line).abs().max()), 2e-3),
        bound("log p in the plane, trig", float((trig - in_plane).abs().max()), 2e-3),
        bound("log p in the plane, vp", float((vp - in_plane).abs().max()), 2e-2),
        _unbiased(log_prob),
        *_variances(),
        *_bits(log_prob),
    )
    return Outcome(readings=readings, arrays={"x": x, "found": line, "truth": on_line})


def _unbiased(log_prob: LogProb) -> Reading:
    """The mean of many estimates along the flow against the exact divergence, in standard errors."""
    field, n = oracles.gaussian_mixture(_MEANS, _STD, None, LINEAR), 2000
    x = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    exact = log_prob(field, x, solver="heun", steps=8)
    found = log_prob(field, x.expand(n, 2), divergence="hutchinson", solver="heun", steps=8, generator=generator(2))
    error = float((found.mean() - exact).abs() / (found.std() / math.sqrt(n)))
    return bound("Hutchinson against the exact divergence, standard errors", error, 4.5)


def _variances() -> list[Reading]:
    """Variance of v^T J v with S the symmetric part of J: 4 sum_(i<j) S_ij² (Rademacher), 2 |S|² (Gaussian)."""
    n, size = 40_000, 4
    matrix = torch.randn(size, size, generator=generator(3), dtype=torch.float64)
    field, x = Field(lambda x, t: x @ matrix.T, LINEAR, VELOCITY), torch.zeros(n, size, dtype=torch.float64)
    square = (0.5 * (matrix + matrix.T)).square()
    readings = []
    for noise, truth in (("rademacher", 2.0 * (square.sum() - square.trace())), ("gaussian", 2.0 * square.sum())):
        draws = generator(4)
        found = likelihood.divergence(field, x, 0.5, method="hutchinson", noise=noise, generator=draws)
        readings.append(
            value(f"variance of Hutchinson, {noise}", float(found.var()), float(truth), 0.05 * float(truth))
        )
        off = float((found.mean() - matrix.trace()).abs() / (found.std() / math.sqrt(n)))
        readings.append(bound(f"bias of Hutchinson, {noise}, standard errors", off, 4.5))
    return readings


def _bits(log_prob: LogProb) -> list[Reading]:
    """Gaussian data on a grid of 16 levels: the average over the dequantising noise is closed form."""
    std, levels, low, high = 0.4, 16, -1.0, 1.0
    delta = (high - low) / (levels - 1)
    x = (low + delta * torch.arange(levels, dtype=torch.float64)).repeat(60)[:, None]
    field = oracles.gaussian(torch.zeros(1).double(), std**2 * torch.eye(1).double(), LINEAR)
    u = torch.rand(x.shape, generator=generator(5), dtype=torch.float64)
    nats = log_prob(field, x + delta * (u - 0.5), solver="rk4", steps=10)
    typed = -(nats / math.log(2.0) + math.log2(delta))
    packed = likelihood.bits_per_dim(field, x, levels=levels, solver="rk4", steps=10, generator=generator(5))
    energy = (x[:, 0] ** 2 + delta**2 / 12.0) / (2.0 * std**2)
    truth = (energy + 0.5 * math.log(2.0 * math.pi * std**2)) / math.log(2.0) - math.log2(delta)
    gap = typed - truth
    error = float(gap.mean().abs() / (gap.std() / math.sqrt(len(gap))))
    return [
        bound("bits per dimension of 16 levels, standard errors", error, 4.5),
        bound("bits_per_dim is that formula", float((packed.per_sample - typed).abs().max()), 1e-9),
    ]


def _draw_likelihood(axes: Any, outcome: Outcome) -> None:
    axes.plot(outcome.arrays["x"], outcome.arrays["truth"], color=style.PALE, linewidth=4.0, label="closed form")
    axes.plot(outcome.arrays["x"], outcome.arrays["found"], color=style.RIGHT, linewidth=1.2, label="along the flow")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", "log p", "log-density of the mixture")


def _divergence(field: BaseField, x_1: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """(log p_0(x_0), minus the integral of the divergence)."""
    total = likelihood.log_prob(field, x_1, **options)
    route = {name: v for name, v in options.items() if name in ("solver", "steps")}
    x_0 = likelihood.encode(field, x_1, **route)
    source = options.get("source", lambda x: torch.distributions.Normal(0.0, 1.0).log_prob(x).flatten(1).sum(1))
    start = source(x_0 * field.path.start(torch.ones(())) if "source" in options else x_0)
    return start, total - start


def _wrong_sign(field: BaseField, x_1: Tensor, **options: Any) -> Tensor:
    source, change = _divergence(field, x_1, **options)
    return source - change


def _no_change(field: BaseField, x_1: Tensor, **options: Any) -> Tensor:
    return _divergence(field, x_1, **options)[0]


T7 = Check(
    id="T7",
    statement="Along the flow log p changes by -div u; random directions estimate it without bias",
    how="log-densities of mixtures on three schedules in closed form; mean and variance of Hutchinson; bits per dimension",
    formulas=(
        r"\frac{d}{dt} \log p_t(X_t) = -\nabla \cdot u_t(X_t), \qquad \log p_1(x_1) = \log p_0(x_0) - \int_0^1 \nabla \cdot u_t\,dt",
        r"\nabla \cdot u = \mathrm{E}\left[v^T \frac{\partial u}{\partial x} v\right], \quad \mathrm{E}[vv^T] = I",
    ),
    measure=_likelihoods,
    right=likelihood.log_prob,
    wrong=(
        Mistake(name="the divergence added in place of subtracted", formula=_wrong_sign),
        Mistake(name="no divergence: densities carried along like labels", formula=_no_change),
    ),
    draw=_draw_likelihood,
)
