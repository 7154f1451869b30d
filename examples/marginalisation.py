"""Conditional paths cross, the paths of their average do not (theory T8, T9).

Left: straight lines from a source point to the data point it was paired with, which is what training looks at. Right: the
solution paths of the velocity averaged over all lines through a point. Both have the same density (blue) at every time.
"""

import sys
from dataclasses import replace

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.gaussian_mixture(torch.tensor([[-2.0], [2.0]]).double(), 0.4, None, path)
draw = torch.Generator().manual_seed(1)
x_0, x_1 = torch.randn(10_000, 1, generator=draw).double(), field.sample(10_000, 1.0, draw)

solution = pl.solve(field, x_0, solver="rk4", steps=50)
lines = torch.stack([path.sample(x_0, x_1, t) for t in solution.times])


def crossings(paths):
    order = paths[:, :200, 0].argsort(dim=1).argsort(dim=1)
    return int((order[0][:, None] < order[0]).ne(order[-1][:, None] < order[-1]).sum()) // 2


for t in (0.25, 0.5, 0.75, 1.0):
    k = int((solution.times - t).abs().argmin())
    gap = (lines[k].sort(0).values - solution.trajectory[k].sort(0).values).abs().mean()
    print(f"distance W1 between the two clouds at t = {t:g}: {gap:.3f}")
print(f"standard deviation of the data, for comparison: {x_1.std():.2f}")
pairs = 200 * 199 // 2
print(f"pairs that cross among 200 straight lines: {crossings(lines)} of {pairs}")
print(f"pairs that cross among 200 solution paths: {crossings(solution.trajectory)} of {pairs}")

with pl.viz.style():
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    pl.viz.phase_portrait(
        solution, background=field, limits=(-3.2, 3.2), title="paths of the average velocity", ax=right
    )
    shown = replace(solution, trajectory=lines)
    pl.viz.phase_portrait(shown, background=field, limits=(-3.2, 3.2), title="conditional paths", ax=left)
    right.set_ylabel("")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/marginalisation.png")
