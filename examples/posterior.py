"""What a perfect denoiser of 1,797 digits sees (theory T16).

Top: one trajectory x_t of the exact flow from noise to handwritten digits. Below: D = E[x_1 | x_t], the average of all digits
weighted by how well they explain x_t. It starts as the mean digit and ends as one of the training images: the exact field
of a finite data set memorises.
"""

import sys

import torch
from sklearn.datasets import load_digits

import pathline as pl

digits = torch.tensor(load_digits().images / 8.0 - 1.0)[:, None]
field = pl.testing.oracles.empirical(digits, pl.AffinePath(pl.Linear()))
x_0 = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
solution = pl.solve(field, x_0, solver="heun", steps=64)

times = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
places = [int((solution.times - t).abs().argmin()) for t in times]
states = solution.trajectory[places, 0]
means = torch.cat([field(states[i : i + 1], solution.times[k]).data for i, k in enumerate(places)])

for t, x in zip(times[:-1], states[:-1], strict=True):
    logits = -((x - t * digits) ** 2).flatten(1).sum(1) / (2 * (1 - t) ** 2)
    effective = 1.0 / torch.softmax(logits, 0).square().sum()
    print(f"digits that share the average at t = {t:g}: {effective:.1f}")
print(f"distance of the end to the nearest digit: {(solution.x - digits).flatten(1).norm(dim=1).min():.0e}")

pictures = torch.cat([states, means]).clamp(-1.0, 1.0)
ax = pl.viz.image_grid(pictures, columns=len(times))
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/posterior.png")
