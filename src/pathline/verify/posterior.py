"""The posterior over a finite data set, which is one attention call (theory T16)."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.paths import AffinePath
from pathline.testing import oracles
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound
from pathline.verify.reference import LINEAR, SCHEDULES, at, coefs_at, gap, generator, gradient, plane

Denoise: TypeAlias = Callable[[Tensor, AffinePath, Tensor, float], Tensor]
"""(points (N, D), path, x_t (B, D), t) -> D = E[x_1 | x_t]."""


def _by_bayes(points: Tensor, path: AffinePath, x: Tensor, t: float) -> Tensor:
    """Bayes' rule with normal densities, point by point."""
    c = coefs_at(path.schedule, t)
    given = torch.distributions.Normal(c.alpha * points[None], c.sigma).log_prob(x[:, None]).sum(2)
    return torch.softmax(given, 1) @ points


def _by_attention(points: Tensor, path: AffinePath, x: Tensor, t: float) -> Tensor:
    """One call of attention: query alpha x/sigma², keys and values z, bias -alpha²|z|²/(2 sigma²)."""
    c = coefs_at(path.schedule, t)
    bias = -(c.alpha**2) * points.square().sum(1) / (2.0 * c.sigma**2)
    query, keys = (c.alpha / c.sigma**2) * x[None], points[None]
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, keys, keys, attn_mask=bias.expand(1, len(x), -1), scale=1.0)[0]


def _denoised(denoise: Denoise) -> Outcome:
    points = torch.randn(300, 5, generator=generator(1), dtype=torch.float64)
    readings = []
    for name, schedule in SCHEDULES.items():
        path = AffinePath(schedule)
        against_bayes, against_attention, scores = [], [], []
        for t in (0.1, 0.5, 0.9):
            x = path.sample(torch.randn(64, 5, generator=generator(2), dtype=torch.float64), points[:64], at(t))
            found = denoise(points, path, x, t)
            c = coefs_at(schedule, t)
            against_bayes.append(gap(found, _by_bayes(points, path, x, t)))
            against_attention.append(gap(found, _by_attention(points, path, x, t)))
            slope = gradient(plane(points, 0.0, c.alpha, c.sigma).log_prob, x)
            scores.append(gap((c.alpha * found - x) / c.sigma**2, slope))
        readings.append(bound(f"D against Bayes' rule, {name}", max(against_bayes), 1e-9))
        readings.append(bound(f"D against one attention call, {name}", max(against_attention), 1e-9))
        readings.append(bound(f"(alpha D - x)/sigma² against grad log p_t, {name}", max(scores), 1e-8))
    x = torch.randn(64, 5, generator=generator(3), dtype=torch.float64)
    nearest = points[torch.cdist(x, points).argmin(1)]
    readings.append(bound("at t = 1: the nearest point", gap(denoise(points, LINEAR, x, 1.0), nearest), 1e-9))
    readings.append(
        bound(
            "at t = 0: the mean of the data", gap(denoise(points, LINEAR, x, 0.0), points.mean(0).expand(64, 5)), 1e-9
        )
    )
    few = torch.tensor([[-2.0], [-1.5], [0.5], [2.0]], dtype=torch.float64)
    places = torch.linspace(-3.0, 3.0, 200, dtype=torch.float64)[:, None]
    curves = {
        t: (denoise(few, LINEAR, places, t)[:, 0], _by_bayes(few, LINEAR, places, t)[:, 0]) for t in (0.3, 0.6, 0.9)
    }
    return Outcome(readings=tuple(readings), arrays={"x": places[:, 0], "curves": curves, "points": few[:, 0]})


def _draw_denoised(axes: Any, outcome: Outcome) -> None:
    for (t, (found, truth)), colour in zip(outcome.arrays["curves"].items(), style.CYCLE, strict=False):
        axes.plot(outcome.arrays["x"], truth, color=colour, linewidth=3.0, alpha=0.35)
        axes.plot(outcome.arrays["x"], found, color=colour, linewidth=1.2, label=f"t = {t}")
    for z in outcome.arrays["points"].tolist():
        axes.axhline(z, color=style.PALE, linewidth=0.8, zorder=0)
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x_t", "D = E[x_1 | x_t]", "four data points (grey); broad: Bayes' rule")


def _ours(points: Tensor, path: AffinePath, x: Tensor, t: float) -> Tensor:
    return oracles.empirical(points, path)(x, t).data


def _unbiased(points: Tensor, path: AffinePath, x: Tensor, t: float) -> Tensor:
    c = coefs_at(path.schedule, t)
    return torch.softmax((c.alpha / max(c.sigma, 1e-9) ** 2) * x @ points.T, 1) @ points


def _hot(points: Tensor, path: AffinePath, x: Tensor, t: float) -> Tensor:
    c = coefs_at(path.schedule, t)
    distance = torch.cdist(x, c.alpha * points).square()
    return torch.softmax(-distance / max(c.sigma, 1e-9) ** 2, 1) @ points


T16 = Check(
    id="T16",
    statement="For any finite data set the posterior is a softmax of distances; D is one attention call",
    how="300 points in R^5: Bayes' rule with normal densities, attention, the gradient of log p_t; the limits t = 0, 1",
    formulas=(
        r"p(x_1 = z_i \mid x_t) = \mathrm{softmax}_i\left(-\frac{|x_t - \alpha_t z_i|^2}{2\sigma_t^2}\right), \qquad "
        r"D(x_t) = \sum_i p(z_i \mid x_t)\, z_i",
    ),
    measure=_denoised,
    right=_ours,
    wrong=(
        Mistake(name="attention without the bias -alpha²|z|²/(2 sigma²)", formula=_unbiased),
        Mistake(name="|x - alpha z|²/sigma²: the 2 forgotten", formula=_hot),
    ),
    draw=_draw_denoised,
)
