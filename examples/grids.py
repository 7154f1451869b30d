"""The same solver on different grids (theory T39).

Where the steps stand matters as much as the method. Left: the times of 16 steps. Right: RMS error of Heun's method on
the eight Gaussians for the same budgets.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

schedule = pl.Linear()
field = pl.testing.oracles.eight_gaussians(pl.AffinePath(schedule))
x_0 = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
truth = pl.sample(field, x_0, solver="rk4", steps=200, grid=pl.times.cosine())
grids = {
    "uniform": pl.times.uniform(),
    "cosine": pl.times.cosine(),
    "shifted(2)": pl.times.shifted(2.0),
    "shifted(0.5)": pl.times.shifted(0.5),
    "log-SNR": pl.times.log_snr_uniform(schedule, -5.0, 5.0),
    "Karras": pl.times.karras(schedule),
}
errors = {}
for name, grid in grids.items():
    errors[name] = {}
    for evaluations in (8, 16, 32, 64):
        x_1 = pl.sample(field, x_0, solver="heun", evaluations=evaluations, grid=grid)
        errors[name][evaluations] = float((x_1 - truth).square().mean().sqrt())
    print(f"RMS error at 16 and 64 evaluations, {name}: {errors[name][16]:.3f} and {errors[name][64]:.4f}")

with pl.viz.style():
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row, (grid, colour) in enumerate(zip(grids.values(), pl.viz.PALETTE, strict=False)):
        times = grid.grid(16)
        left.plot(times, torch.full_like(times, -row), "|", color=colour, markersize=9.0)
    left.set(xlabel="$t$", yticks=[-row for row in range(len(grids))], yticklabels=list(grids))
    pl.viz.error_curve(errors, ax=right)
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/grids.png")
