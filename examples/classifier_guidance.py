"""The velocity of a class is that of all data plus a classifier's gradient (theory T35).

Black arrows: u(x) at t = 1/2. Orange: b_t grad log p(y | x_t), the pull of the exact classifier towards class 0 (cross). Their sum
is the velocity of the class alone, to rounding.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

means = torch.tensor([[0.0, 1.2], [-1.0, -0.6], [1.0, -0.6]], dtype=torch.float64)
worst = 0.0
for schedule in (pl.Linear(), pl.Trig(), pl.Cosine()):
    field = pl.testing.oracles.gaussian_mixture(means, 0.5, None, pl.AffinePath(schedule), labels=torch.arange(3))
    for t in (0.1, 0.5, 0.9):
        t = torch.tensor(t, dtype=torch.float64)
        alpha, sigma, dalpha, dsigma = schedule(t)
        b = dalpha / alpha * sigma**2 - dsigma * sigma
        x = field.sample(500, t, torch.Generator().manual_seed(0))
        together = field(x, t).velocity + b * field.class_score(x, t, 0)
        worst = max(worst, float((together - field(x, t, y=0).velocity).abs().max()))
assert worst < 1e-10
print(f"largest difference between u(x) + b grad log p(y | x) and u(x | y): {worst:.0e}")

field = pl.testing.oracles.gaussian_mixture(means, 0.5, None, pl.AffinePath(pl.Linear()), labels=torch.arange(3))
side = torch.linspace(-2.2, 2.2, 14, dtype=torch.float64)
x = torch.cartesian_prod(side, side)
u, pull = field(x, 0.5).velocity, field(x, 0.5, y=0).velocity - field(x, 0.5).velocity
with pl.viz.style():
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    ax = pl.viz.density(field, 0.5, limits=(-2.5, 2.5, -2.5, 2.5), title="t = 1/2", ax=figure.subplots())
    for vectors, colour in ((u, "black"), (pull, pl.viz.PALETTE[1])):
        ax.quiver(*x.T, *vectors.T, color=colour, angles="xy", scale_units="xy", scale=9.0, width=0.005)
    ax.plot(*means[0], "x", color=pl.viz.PALETTE[1], markersize=9.0)
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/classifier_guidance.png")
