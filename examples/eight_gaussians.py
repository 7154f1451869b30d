"""From noise to eight Gaussians: the first example.

300 particles start as Gaussian noise (grey) and follow the exact velocity of the linear path to the data (blue). No
network is trained: the field is known in closed form.
"""

import sys

import torch

import pathline as pl

field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
solution = pl.solve(field, (300, 2), solver="heun", steps=32, generator=torch.Generator().manual_seed(0))

angle = torch.atan2(solution.x[:, 1], solution.x[:, 0])
print(f"evaluations of the field per particle: {solution.evaluations}")
print(f"mean distance from the centre (the modes stand at 5): {solution.x.norm(dim=1).mean():.2f}")
print(f"modes that were reached: {len((angle / (torch.pi / 4)).round().remainder(8).unique())}")

ax = pl.viz.trajectories(solution)
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/eight_gaussians.png")
