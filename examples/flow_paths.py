"""Paths of an ODE never cross, and can be walked back (theory T1).

Noise N(0, 1) at t = 0 becomes a mixture of two normals at t = 1. Each line is one solution of dX/dt = u_t(X), on the
density p_t in blue. Two of them never meet, so the order of the particles is kept, and solving backwards returns to the start.
"""

import sys

import torch

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.gaussian_mixture(torch.tensor([[-2.0], [2.0]]).double(), 0.4, None, path)
x_0 = torch.randn(40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort(0).values

solution = pl.solve(field, x_0, solver="rk4", steps=200)
back = pl.integrate(field, solution.x, "rk4", solution.times.flip(0))

crossings = int((solution.trajectory.diff(dim=1) <= 0).any(0).sum())
assert crossings == 0
print(f"pairs of neighbours that cross: {crossings} of 39")
print(f"largest distance from the start after forth and back: {(back - x_0).abs().max():.0e}")

ax = pl.viz.phase_portrait(solution, background=field)
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/flow_paths.png")
