"""DDIM is Euler in sigma/alpha, whatever the network predicts (theory T37).

The same 7 steps on the eight Gaussians, five times: DDIM, and Euler written out for dx/dr = E in the coordinate r = sigma/alpha of
x/alpha, for a network that predicts data, noise, velocity or v. The end points agree to rounding. Plain Euler in t goes elsewhere.
"""

import itertools
import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.VP())
exact = pl.testing.oracles.eight_gaussians(path)
x_0 = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
grid = pl.times.log_snr_uniform(path.schedule, -4.0, 4.0).grid(8)[
    :-1
]  # to just before the data, where the log-SNR is finite

ends = {}
for prediction in (pl.DATA, pl.NOISE, pl.VELOCITY, pl.V):
    network = pl.Field(lambda x, t, p=prediction: exact(x, t).read(p), path, prediction)
    ends[f"DDIM, {prediction.name}"] = pl.integrate(network, x_0, "ddim", grid)
x = x_0
for t, s in itertools.pairwise(grid):
    (alpha, sigma), (alpha_s, sigma_s) = path.schedule(t)[:2], path.schedule(s)[:2]
    x = alpha_s * (x / alpha + (sigma_s / alpha_s - sigma / alpha) * exact(x, t).noise)
assert all((end - x).abs().max() < 1e-10 for end in ends.values())
for name, end in ends.items():
    print(f"largest distance from Euler in sigma/alpha, {name}: {(end - x).abs().max():.0e}")
euler = pl.integrate(exact, x_0, "euler", grid)
print(f"largest distance from Euler in sigma/alpha, Euler in t: {(euler - x).abs().max():.1f}")

with pl.viz.style():
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    shown = {"DDIM, 7 steps": x, "Euler in t, 7 steps": euler}
    for panel, (name, end) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        pl.viz.scatter(end, limits=(-8.0, 8.0, -8.0, 8.0), title=name, ax=panel)
        panel.plot(*exact.means.T, "k+")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/ddim.png")
