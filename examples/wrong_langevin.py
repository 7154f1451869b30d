"""'Langevin: dX = -grad U dt + g dW samples exp(-U)': for g = sqrt(2) only (theory T6).

A double well U = (x² - 1)², 20,000 particles after a long time. Top: the drift -grad U with three strengths of noise. Bottom: the drift
(g²/2) grad log p, which is stationary at p = exp(-U)/Z (line) for every g.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

x = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
p = torch.exp(-((x**2 - 1.0) ** 2))
p = p / (p.sum() * (x[1] - x[0]))
print(f"second moment of exp(-U): {(x**2 * p).sum() * (x[1] - x[0]):.2f}")

g = torch.tensor([0.7, 2.0**0.5, 2.0, 0.7, 2.0**0.5, 2.0], dtype=torch.float64)[:, None]
factor = torch.where(torch.arange(6)[:, None] < 3, 1.0, 0.5 * g**2)
names = ["-grad U"] * 3 + ["(g²/2) grad log p"] * 3
draw, h = torch.Generator().manual_seed(0), 0.003 / factor
state = torch.randn(1, 20_000, generator=draw).double().repeat(6, 1)
for _ in range(1200):
    force = -4.0 * state * (state**2 - 1.0)
    state = state + h * factor * force + g * h.sqrt() * torch.randn(20_000, generator=draw)

with pl.viz.style():
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for panel, name, strength, cloud in zip(panels.flat, names, g[:, 0].tolist(), state, strict=True):
        print(f"second moment with {name}, g = {strength:.2f}: {cloud.square().mean():.2f}")
        panel.hist(cloud.numpy(), bins=80, range=(-2.5, 2.5), density=True, color=pl.viz.PALETTE[5])
        panel.plot(x, p, color="black")
        panel.set_title(f"{name}, $g$ = {strength:.2f}")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_langevin.png")
