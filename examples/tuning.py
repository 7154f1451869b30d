"""A solver fitted to the model: more from every evaluation (theory T40).

Times and coefficients of a non-stationary solver, fitted for 4 evaluations to the exact field of the eight Gaussians on the VP path, by matching
converged end points, and measured on noise that the fit has not seen. Beside it untuned solvers on uniform grids, and one on a
fitted grid.
"""

import sys

import torch

import pathline as pl
from pathline.solvers import grids

field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.VP()))
x_0 = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
x_1 = pl.sample(field, x_0, solver="rk4", steps=200, grid=pl.times.cosine())


def error(**cost):
    return float((pl.sample(field, x_0[500:], **cost) - x_1[500:]).square().mean().sqrt())


errors = {"euler, uniform": {}, "heun, uniform": {}, "ab2, uniform": {}, "ab2, fitted grid": {}}
for evaluations in (4, 6, 8, 12):
    grid = grids.fit(field, evaluations, x_0[:200], solver="ab2")
    errors["ab2, fitted grid"][evaluations] = error(solver="ab2", grid=grid)
    for name in ("euler", "heun", "ab2"):
        errors[f"{name}, uniform"][evaluations] = error(solver=name, evaluations=evaluations)
tuned = pl.tune(field, 4, target=(x_0[:300], x_1[:300]), samples=250, iterations=6)
errors["fitted solver"] = {4: error(solver=tuned)}
for name, found in errors.items():
    print(f"error at 4 evaluations, {name}: {found[4]:.3f}")

ax = pl.viz.error_curve(errors)
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/tuning.png")
