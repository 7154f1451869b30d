"""'Noise prediction up-weights high noise': on the linear path it is the other way round (theory T18).

One imperfect network on the eight Gaussians, its squared error counted as velocity, noise and data, time by time. Dots: measured ratios to
the velocity error. Lines: t² and (1 - t)².
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.eight_gaussians(path)
draw = torch.Generator().manual_seed(0)
ratios = {"noise": {}, "data": {}}
for t in torch.linspace(0.1, 0.9, 9, dtype=torch.float64):
    x = field.sample(1000, t, draw)
    exact = field(x, t)
    wrong = path.read(x, t, pl.VELOCITY, exact.velocity + torch.sin(x))
    base = (wrong.velocity - exact.velocity).square().mean()
    for name, prediction in (("noise", pl.NOISE), ("data", pl.DATA)):
        ratios[name][float(t)] = float((wrong.read(prediction) - exact.read(prediction)).square().mean() / base)
for t in (0.1, 0.5, 0.9):
    nearest = min(ratios["noise"], key=lambda s, t=t: abs(s - t))
    print(f"L_noise / L_velocity at t = {t}: {ratios['noise'][nearest]:.2f}")
    print(f"L_data / L_velocity at t = {t}: {ratios['data'][nearest]:.2f}")

with pl.viz.style():
    ax = Figure(figsize=(5.0, 3.0), layout="constrained").add_subplot()
    t = torch.linspace(0.0, 1.0, 101)
    ax.plot(t, t**2, color=pl.viz.PALETTE[1])
    ax.plot(t, (1 - t) ** 2, color=pl.viz.PALETTE[0])
    ax.plot(*zip(*ratios["noise"].items(), strict=True), "o", color=pl.viz.PALETTE[1], label="noise error: $t^2$")
    ax.plot(*zip(*ratios["data"].items(), strict=True), "s", color=pl.viz.PALETTE[0], label="data error: $(1 - t)^2$")
    ax.set(xlabel="$t$: noise on the left, data on the right", ylabel="share of the velocity error")
    ax.legend(loc="upper center")
    pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_noise_weight.png")
