"""The density of a flow at five times, and its velocity between (theory T2).

Top: p_t from noise to two moons, the exact field of 400 points smoothed a little. Bottom: the velocity that moves it, longer
arrows for faster, at the same times.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

points = pl.data.moons(400, generator=torch.Generator().manual_seed(0)).x.double()
points = (points - points.mean(0)) / points.std()
field = pl.testing.oracles.empirical(points, pl.AffinePath(pl.Linear()), std=0.08)
times, box = (0.0, 0.3, 0.6, 0.8, 1.0), (-2.6, 2.6, -1.8, 1.8)
for t in times:
    x_t = field.sample(2000, t, torch.Generator().manual_seed(0))
    print(f"RMS speed at t = {t:g}: {field(x_t, t).velocity.pow(2).mean().sqrt():.2f}")

with pl.viz.style():
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    for row, draw in zip(figure.subplots(2, 5, sharex=True, sharey=True), (pl.viz.density, pl.viz.field), strict=True):
        for t, panel in zip(times, row, strict=True):
            draw(field, t, limits=box, title=f"t = {t:g}" if draw is pl.viz.density else "", ax=panel)
            panel.set(xticks=[], yticks=[])
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/snapshots.png")
