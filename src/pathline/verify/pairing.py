"""Couplings of source and data (theory T28, T30), and bridges between them (T29)."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.couplings import class_exact_ot, exact_ot, sinkhorn
from pathline.paths import BridgePath, schrodinger_bridge
from pathline.predictions import VELOCITY
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound, value
from pathline.verify.reference import at, gap, generator

Pair: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(x_0, x_1) -> indices into x_0."""
PairWithin: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_0, x_1, y) -> indices into x_0."""


def _points(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


def _assigned(pair: Pair) -> Outcome:
    excess, missing = 0.0, 0
    for seed in range(4):
        x_0, x_1 = _points(6, 2, seed), 2.0 * _points(6, 2, 100 + seed)
        cost = torch.cdist(x_0, x_1).square()
        least = min(float(cost[list(order), range(6)].sum()) for order in permutations(range(6)))
        found = pair(x_0, x_1)
        excess = max(excess, float(cost[found, torch.arange(6)].sum()) / least - 1.0)
        missing += 6 - len(found.unique())
    line_0, line_1 = _points(200, 1, 11), _points(200, 1, 12).exp()
    sorted_cost = float((line_0.sort(0).values - line_1.sort(0).values).square().sum())
    on_line = float((line_0[pair(line_0, line_1)] - line_1).square().sum())
    x_0, x_1 = _points(60, 2, 21), torch.cat([_points(30, 2, 22), _points(30, 2, 23) + 4.0]) * 0.5
    readings = (
        bound("excess over the best of all 720 permutations", abs(excess), 1e-9),
        bound("source points that no data point gets", missing, 0.0),
        bound("excess over sorting, in one dimension", abs(on_line / sorted_cost - 1.0), 1e-9),
    )
    return Outcome(readings=readings, arrays={"x_0": x_0, "x_1": x_1, "pairs": x_0[pair(x_0, x_1)]})


def _draw_assigned(axes: Any, outcome: Outcome) -> None:
    x_1, pairs = outcome.arrays["x_1"], outcome.arrays["pairs"]
    for a, b in zip(pairs.tolist(), x_1.tolist(), strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color=style.PALE, linewidth=0.9, zorder=0)
    axes.scatter(*pairs.T, s=9, color=style.SECOND, label="source")
    axes.scatter(*x_1.T, s=9, color=style.RIGHT, label="data")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "", "", "an optimal assignment: no two lines cross")


def _nearest(x_0: Tensor, x_1: Tensor) -> Tensor:
    return torch.cdist(x_1, x_0).argmin(1)


def _distance_not_squared(x_0: Tensor, x_1: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    return torch.as_tensor(linear_sum_assignment(torch.cdist(x_1, x_0).numpy())[1])


T28 = Check(
    id="T28",
    statement="Optimal transport of a batch is an assignment: the permutation of least squared distance",
    how="all permutations of 6 points; sorting in one dimension; each source point is used exactly once",
    formulas=(r"\pi = \arg\min_{\pi \in S_n} \sum_i |x_{0,\pi(i)} - x_{1,i}|^2",),
    measure=_assigned,
    right=lambda x_0, x_1: exact_ot()(x_0, x_1),
    wrong=(
        Mistake(name="the nearest source point of each", formula=_nearest),
        Mistake(name="pairs drawn with replacement", formula=lambda x_0, x_1: exact_ot()(x_0, x_1)[torch.randint(
            len(x_0), (len(x_0),), generator=generator(0))]),
        Mistake(name="the distance, not its square", formula=_distance_not_squared),
    ),
    draw=_draw_assigned,
)  # fmt: skip


def _bridged(formulas: dict[str, Callable[..., Any]]) -> Outcome:
    scale = 0.8
    path = schrodinger_bridge(scale)
    x_0, x_1, z = (_points(200, 2, seed) for seed in (1, 2, 3))
    moved, spread = 0.0, 0.0
    for t in (0.2, 0.5, 0.7):
        h = 1e-5
        rate = (path.at(x_0, x_1, z, at(t + h)) - path.at(x_0, x_1, z, at(t - h))) / (2.0 * h)
        moved = max(moved, gap(formulas["velocity"](path, x_0, x_1, z, at(t)), rate))
        std = (path.at(x_0, x_1, z, at(t)) - (1.0 - t) * x_0 - t * x_1) / z
        spread = max(spread, gap(std, torch.full_like(std, scale * math.sqrt(t * (1.0 - t)))))
    levels = (torch.arange(160, dtype=torch.float64) + 0.5) / 160
    line = torch.special.ndtri(levels)[:, None]
    reg = formulas["reg"](scale)
    plan = sinkhorn(reg=reg).plan(line, line).plan
    covariance = float(160 * (line.T @ plan @ line)) / 160 / float(line.square().mean())
    truth = 0.5 * (math.sqrt(4.0 + scale**4) - scale**2)
    readings = (
        bound("velocity against d/dt of x_t at fixed z", moved, 1e-7),
        bound("standard deviation against s sqrt(t(1 - t))", spread, 1e-9),
        value("covariance of the entropic pairs of N(0, 1) and N(0, 1)", covariance, truth, 0.02),
    )
    return Outcome(readings=readings, arrays={"plan": plan, "line": line[:, 0]})


def _draw_bridged(axes: Any, outcome: Outcome) -> None:
    line = outcome.arrays["line"]
    axes.contourf(line, line, outcome.arrays["plan"].T, levels=8, cmap="Blues")
    style.label(axes, "x_0", "x_1", "the entropic coupling of two normal distributions")


def _rate(path: BridgePath, x_0: Tensor, x_1: Tensor, z: Tensor, t: Tensor) -> Tensor:
    return path.target(VELOCITY, x_0, x_1, z, t)


BRIDGE: dict[str, Callable[..., Any]] = {"velocity": _rate, "reg": lambda s: 2.0 * s**2}

T29 = Check(
    id="T29",
    statement="Entropic pairs joined by Brownian bridges are the Schrödinger bridge; reg = 2 s²",
    how="differences of x_t in time; the covariance of Sinkhorn's plan against its closed form for normal distributions",
    formulas=(
        r"x_t \sim N((1-t)x_0 + t x_1,\; s^2 t(1-t)), \qquad u = x_1 - x_0 + \frac{1-2t}{2t(1-t)}(x_t - (1-t)x_0 - t x_1)",
        r"\mathrm{cov}(x_0, x_1) = (\sqrt{4 + s^4} - s^2)/2 \quad \mathrm{for\ two\ } N(0, 1)",
    ),
    measure=_bridged,
    right=BRIDGE,
    wrong=(
        Mistake(
            name="the velocity without the noise's share",
            formula={**BRIDGE, "velocity": lambda path, x_0, x_1, z, t: x_1 - x_0},
        ),
        Mistake(name="reg = s²", formula={**BRIDGE, "reg": lambda s: s**2}),
    ),
    draw=_draw_bridged,
)


def _conditional(pair: PairWithin) -> Outcome:
    n = 512
    y = torch.arange(n) % 2
    x_0 = _points(n, 2, 31)
    x_1 = 0.4 * _points(n, 2, 32) + torch.stack([torch.where(y == 0, -3.0, 3.0), torch.zeros(n)], 1)
    paired = x_0[pair(x_0, x_1, y)]
    error = 1.0 / math.sqrt(n / 2)
    readings = []
    for label in (0, 1):
        own = paired[y == label]
        readings.append(
            bound(f"|E[x_0 | y = {label}]|, standard error {error:.2f}", float(own.mean(0).norm()), 5 * error)
        )
        readings.append(value(f"variance of x_0 given y = {label}", float(own[:, 0].var()), 1.0, 7 * error))
    missing = n - len(torch.unique(paired[:, 0]))
    readings.append(bound("source points that no data point gets", missing, 0.0))
    return Outcome(readings=tuple(readings), arrays={"paired": paired, "y": y})


def _draw_conditional(axes: Any, outcome: Outcome) -> None:
    paired, y = outcome.arrays["paired"], outcome.arrays["y"]
    for label, colour in ((0, style.RIGHT), (1, style.SECOND)):
        axes.scatter(*paired[y == label].T, s=6, color=colour, label=f"x_0 paired with y = {label}")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "", "", "each class sees the whole source")


T30 = Check(
    id="T30",
    statement="With conditions, transport must pair within each of them, or p(x_0 | y) is no longer the source",
    how="two classes left and right of the source: mean and variance of the source points that each is paired with",
    formulas=(r"p(x_0 \mid y) = p(x_0)",),
    measure=_conditional,
    right=lambda x_0, x_1, y: class_exact_ot()(x_0, x_1, y),
    wrong=(
        Mistake(name="transport of the whole batch", formula=lambda x_0, x_1, y: exact_ot()(x_0, x_1)),
        Mistake(name="the nearest source point of each", formula=lambda x_0, x_1, y: _nearest(x_0, x_1)),
    ),
    draw=_draw_conditional,
)
