"""Independent pairs and optimal pairs (theory T27, T28).

Noise (blue) and moons (orange). Above, the straight lines of 150 of 1,000 pairs; below, the paths of the average velocity of all
pairs, each smeared by a Gaussian of standard deviation 0.15. Independent lines cross, so their average bends. Exactly optimal
pairs hardly meet: the average stays nearly straight, its energy is close to the least possible, W2², and one Euler step is close to the end.
"""

import sys
from dataclasses import dataclass

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

import pathline as pl


@dataclass(frozen=True)
class PairNet:
    """E[x_1 − x_0 | x_t = x] over smeared pairs: what a network trained on the pairs would learn."""

    x_0: Tensor
    x_1: Tensor
    smear: float = 0.15

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        far = torch.cdist(x, torch.lerp(self.x_0, self.x_1, t)).square()
        return torch.softmax(-far / (2.0 * self.smear**2), dim=1) @ (self.x_1 - self.x_0)


g = torch.Generator().manual_seed(0)
x_0, x_1 = torch.randn(1000, 2, generator=g), pl.data.toys.moons(1000, generator=g).x
start = torch.randn(400, 2, generator=g)
path = pl.AffinePath(pl.Linear())
least = pl.metrics.wasserstein2(x_0, x_1) ** 2
print(f"least energy of any transport, W2²: {least:.2f}")

with pl.viz.style():
    figure = Figure(figsize=(7.0, 6.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    couplings = {"independent pairs": pl.couplings.independent(), "optimal pairs": pl.couplings.exact_ot()}
    for column, (name, coupling) in enumerate(couplings.items()):
        paired = x_0[coupling(x_0, x_1)]
        field = pl.Field(PairNet(paired, x_1), path, pl.VELOCITY)
        found = pl.metrics.measure_transport(field, start, steps=40, w2_squared=least)
        one = pl.sample(field, start, solver="euler", steps=1)
        missed = (one - pl.sample(field, start, solver="heun", steps=40)).norm(dim=1).mean()
        print(f"{name}, crossing: {pl.metrics.crossing(paired, x_1):.2f}")
        print(f"{name}, path energy: {found.path_energy:.2f}")
        print(f"{name}, curvature: {found.curvature:.2f}")
        print(f"{name}, distance that one Euler step misses by: {missed:.2f}")
        curves = pl.solve(field, paired[:150], solver="heun", steps=40).trajectory
        lines = torch.stack([paired[:150], x_1[:150]])
        for panel, shown in zip(panels[:, column], (lines, curves), strict=True):
            panel.add_collection(LineCollection(list(shown.transpose(0, 1).numpy()), colors="0.7", linewidths=0.6))
            panel.scatter(*shown[0].T, s=5, color=pl.viz.PALETTE[0], zorder=3)
            panel.scatter(*shown[-1].T, s=5, color=pl.viz.PALETTE[1], zorder=3)
            panel.set(xlim=(-3.4, 3.4), ylim=(-3.2, 3.2), aspect="equal")
        panels[0, column].set_title(name)
        panels[1, column].set_title("paths of their average")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/independent_vs_ot.png")
