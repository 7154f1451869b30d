"""g is not eta: a slip that no mean can see (theory T14).

The family is dX = (u + eta s) dt + sqrt(2 eta) dW, with g = sqrt(2 eta). Here from N(0, 1) to N(1, 1/4), at eta = 1: as it
is, with the drift u + g² s (the ½ forgotten), and with the noise eta dW in place of g dW.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.gaussian(torch.ones(1).double(), 0.25 * torch.eye(1).double(), path)
steps, eta, last = 500, 1.0, 0.9
versions = {
    "u + eta s, sqrt(2 eta)": (1.0, 2.0**0.5),
    "u + g² s, g": (2.0, 2.0**0.5),
    "u + eta s, eta": (1.0, 1.0),
}
truth = field.sample(40_000, last, torch.Generator().manual_seed(1))
print(f"mean and variance at t = 0.9, exact: {last:.3f} and {last**2 / 4 + (1 - last) ** 2:.3f}")

with pl.viz.style():
    figure = Figure(figsize=(8.5, 2.5), layout="constrained")
    for panel, (name, (drift, noise)) in zip(figure.subplots(1, 3, sharey=True), versions.items(), strict=True):
        draw = torch.Generator().manual_seed(0)
        x, h = torch.randn(40_000, 1, generator=draw).double(), last / steps
        for k in range(steps):
            estimate = field(x, k * h)
            x = x + h * (estimate.velocity + drift * eta * estimate.score)
            x = x + noise * h**0.5 * torch.randn(x.shape, generator=draw).double()
        print(f"mean and variance at t = 0.9, drift and noise {name}: {x.mean():.3f} and {x.var():.3f}")
        pl.viz.histogram(x, data=truth, limits=(-0.8, 2.6), title=name, ax=panel)
        panel.get_legend().remove()
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_eta.png")
