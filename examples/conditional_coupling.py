"""Optimal pairs with labels, done wrong and right (theory T30).

Two classes of data, the two moons. Above, pairs: optimal over the whole batch, the upper moon takes the upper noise; optimal within each
class, both get noise from everywhere. Below, the upper moon asked for (grey: as it is), started from all of the noise as sampling
does, along the average velocity of its pairs. Trained on half the noise, the field does not know what to do with the other half.
"""

import sys
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pathline as pl


@dataclass(frozen=True)
class PairNet:
    """E[x_1 − x_0 | x_t = x] over pairs of one class, each smeared by a Gaussian."""

    x_0: Tensor
    x_1: Tensor
    smear: float = 0.15

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        far = torch.cdist(x, torch.lerp(self.x_0, self.x_1, t)).square()
        return torch.softmax(-far / (2.0 * self.smear**2), dim=1) @ (self.x_1 - self.x_0)


g = torch.Generator().manual_seed(0)
n, asked = 1000, 0
x_0 = torch.randn(n, 2, generator=g)
x_1, y = pl.data.toys.moons(n, noise=0.08, generator=g)
start = torch.randn(int((y == asked).sum()), 2, generator=g)
path = pl.AffinePath(pl.Linear())
couplings = {
    "independent": pl.couplings.independent(),
    "optimal": pl.couplings.exact_ot(),
    "optimal in class": pl.couplings.class_exact_ot(),
}

with pl.viz.style():
    figure = Figure(figsize=(7.0, 6.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    column = 0
    for name, coupling in couplings.items():
        paired = x_0[coupling(x_0, x_1, y, g)]
        field = pl.Field(PairNet(paired[y == asked], x_1[y == asked]), path, pl.VELOCITY)
        many, one = (pl.sample(field, start, solver="euler", steps=steps) for steps in (40, 1))
        print(f"{name}, mean height of the noise of the upper moon: {paired[y == asked, 1].mean():.2f}")
        print(f"{name}, W2 after 40 Euler steps: {pl.metrics.wasserstein2(many, x_1[y == asked]):.2f}")
        print(f"{name}, W2 after one Euler step: {pl.metrics.wasserstein2(one, x_1[y == asked]):.2f}")
        if name == "independent":
            continue
        above, below = panels[:, column]
        for label in (0, 1):
            above.scatter(*paired[y == label].T, s=4, color=pl.viz.PALETTE[label])
        above.set(title=f"{name}: noise by its class", xlim=(-3.9, 3.9), ylim=(-3.2, 3.2), aspect="equal")
        below.scatter(*x_1[y == asked].T, s=4, color="0.75")
        below.scatter(*many.T, s=4, color=pl.viz.PALETTE[0])
        below.set(title="the upper moon, 40 steps", aspect="equal")
        column += 1
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/conditional_coupling.png")
