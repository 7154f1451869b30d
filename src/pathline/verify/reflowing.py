"""Any source (theory T31), and what training on the pairs of a flow does to it (T32)."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.paths import BridgePath, icfm
from pathline.solvers import sample
from pathline.testing import oracles
from pathline.testing.oracles.bridge import JointGaussians, mixture_bridge
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound, value
from pathline.verify.reference import LINEAR, at, gap, generator

Velocity: TypeAlias = Callable[[BaseField, Tensor, Tensor], Tensor]
"""(field of the joint law, x_t, t) -> u_t(x_t)."""
Ends: TypeAlias = Callable[[Tensor], Tensor]
"""x_0 -> the x_1 that it is paired with."""
QUIET = icfm(1e-3)


def _mixtures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    means_0 = torch.tensor([[-2.0], [2.0]]).double()
    means_1 = torch.tensor([[-1.0], [0.5], [3.0]]).double()
    return means_0, torch.full((2, 1, 1), 0.25).double(), means_1, torch.full((3, 1, 1), 0.09).double()


def _carried(velocity: Velocity) -> Outcome:
    means_0, covs_0, means_1, covs_1 = _mixtures()
    field = mixture_bridge(means_0, covs_0, means_1, covs_1, QUIET)
    levels = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    normal = torch.special.ndtri(levels)[:, None]
    x = torch.cat([mean + 0.5 * normal for mean in means_0]).sort(0).values
    start = x
    grid = torch.linspace(0.0, 1.0, 51, dtype=torch.float64)
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        middle = x + 0.5 * (s - t) * velocity(field, x, at(t))
        x = x + (s - t) * velocity(field, middle, at(0.5 * (t + s)))
    truth = torch.cat([mean + 0.3 * normal for mean in means_1])
    places = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    wanted = truth.sort(0).values[:, 0]
    quantiles = wanted[(places * len(wanted)).long()]
    between = (quantiles > -0.6) & (quantiles < 2.6)  # tails are thin: a quantile there says little
    off = (x[:, 0] - quantiles)[between].abs().mean()
    readings = (
        bound("mean distance of the quantiles", float(off), 0.02),
        value("mean of x_1", float(x.mean()), float(truth.mean()), 0.01),
        value("standard deviation of x_1", float(x.std()), float(truth.std()), 0.01),
    )
    return Outcome(readings=readings, arrays={"start": start[:, 0], "end": x[:, 0], "truth": wanted})


def _draw_carried(axes: Any, outcome: Outcome) -> None:
    edges = torch.linspace(-4.0, 4.5, 60).tolist()
    for name, colour in (("start", style.SECOND), ("truth", style.PALE)):
        axes.hist(outcome.arrays[name], bins=edges, density=True, color=colour, alpha=0.6, label=name)
    axes.hist(outcome.arrays["end"], bins=edges, density=True, histtype="step", color=style.RIGHT, label="end")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "x", "density", "two lumps carried to three")


def _exact(field: BaseField, x: Tensor, t: Tensor) -> Tensor:
    return field(x, t).velocity


def _halved(field: BaseField, x: Tensor, t: Tensor) -> Tensor:
    return 0.5 * field(x, t).velocity


T31 = Check(
    id="T31",
    statement="The average of conditional velocities carries any source to the data, not only noise",
    how="two lumps to three, paired independently: quantiles and moments of the end of the flow",
    formulas=(r"u_t(x) = E[x_1 - x_0 \mid x_t = x], \qquad x_0 \sim q_0 \mathrm{\ arbitrary}",),
    measure=_carried,
    right=_exact,
    wrong=(
        Mistake(name="half the velocity", formula=_halved),
        Mistake(
            name="E[x_0 | x_t] of the wrong sign",
            formula=lambda field, x, t: field(x, t).data + field(x, t).noise,
        ),
    ),
    draw=_draw_carried,
)


def _fitted(x_0: Tensor, x_1: Tensor, path: BridgePath) -> JointGaussians:
    """The exact field of training on these pairs, were they jointly normal: means and covariances of the pairs."""
    both = torch.cat([x_1, x_0], 1)
    return _joint(both.mean(0), both.T.cov(), path)


def _joint(mean: Tensor, cov: Tensor, path: BridgePath) -> JointGaussians:
    """One normal law of pairs (x_1, x_0)."""
    size = len(mean) // 2
    return JointGaussians(mean[None, :size], mean[None, size:], cov[None], None, path)


def _straightened(ends: Ends) -> Outcome:
    normal = torch.special.ndtri((torch.arange(801, dtype=torch.float64) + 0.5) / 801)[:, None]
    x_0 = normal / normal.std()
    paired = ends(x_0)
    field = _fitted(x_0, paired, QUIET)
    step = x_0 + field(x_0, at(0.0)).velocity
    grid = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    x, energy, way = x_0, 0.0, [x_0]
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        u = field(x, at(t)).velocity
        energy += float(u.square().mean()) * (s - t)
        x = x + (s - t) * u
        way.append(x)
    w2 = (1.0 - 0.5) ** 2  # N(0, 1) to N(0, 1/4)
    readings = (
        bound("one Euler step against the flow", gap(step, 0.5 * x_0), 2e-3),
        value("path energy against W2²", energy, w2, 2e-3),
        value("standard deviation of the end", float(x.std()), 0.5, 2e-3),
    )
    return Outcome(readings=readings, arrays={"times": grid, "way": torch.cat(way, 1)[::80]})


def _draw_straightened(axes: Any, outcome: Outcome) -> None:
    for line in outcome.arrays["way"]:
        axes.plot(outcome.arrays["times"], line, color=style.RIGHT, linewidth=1.0)
    style.label(axes, "t", "x_t", "after reflow every path is a straight line")


def _by_the_flow(x_0: Tensor) -> Tensor:
    field = oracles.gaussian(torch.zeros(1).double(), torch.tensor([[0.25]]).double(), LINEAR)
    return sample(field, x_0, solver="rk4", steps=64)


def _fresh(x_0: Tensor) -> Tensor:
    return 0.5 * x_0[torch.randperm(len(x_0), generator=generator(4))]


T32 = Check(
    id="T32",
    statement="Trained on the pairs (x_0, psi_1(x_0)) of a flow, paths become straight and energy falls to W2²",
    how="N(0, 1) to N(0, 1/4): pairs by RK4, the field of their joint law, one step, energy, end",
    formulas=(r"x_1 = \psi_1(x_0) \;\Rightarrow\; u_t(x_t) = x_1 - x_0, \qquad \int E|u_t|^2 dt \to W_2^2",),
    measure=_straightened,
    right=_by_the_flow,
    wrong=(
        Mistake(name="data paired anew", formula=_fresh),
        Mistake(name="one Euler step for the flow", formula=lambda x_0: sample(
            oracles.gaussian(torch.zeros(1).double(), torch.tensor([[0.25]]).double(), LINEAR), x_0, solver="heun", steps=2)),
    ),
    draw=_draw_straightened,
)  # fmt: skip
