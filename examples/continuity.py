"""The velocity moves the density: the continuity equation, checked (theory T2).

Left: the density p_t(x) of a flow from N(0, 1) to two normals. Beside it the residual of d/dt p + d/dx (p u) = 0 by central
differences, as a share of the largest d/dt p: with the velocity of the path, and with one that forgets the noise.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Trig())
field = pl.testing.oracles.gaussian_mixture(torch.tensor([[-1.5], [1.5]]).double(), 0.5, None, path)
times = torch.linspace(0.05, 0.95, 61, dtype=torch.float64)
x, h = torch.linspace(-4.0, 4.0, 241, dtype=torch.float64)[:, None], 1e-4


def density(x, t):
    return field.log_prob(x, t).exp()


def rate(t):
    return (density(x, t + h) - density(x, t - h)) / (2 * h)


def residual(velocity):
    def flux(x, t):
        return density(x, t) * velocity(field(x, t))[:, 0]

    columns = [rate(t) + (flux(x + h, t) - flux(x - h, t)) / (2 * h) for t in times]
    return torch.stack(columns, 1) / max(rate(t).abs().max() for t in times)


right = residual(lambda estimate: estimate.velocity)
wrong = residual(lambda estimate: estimate.coefs.dalpha * estimate.data)
assert right.abs().max() < 1e-6 < 0.1 < wrong.abs().max()
print(f"largest residual with u = alpha' D + sigma' E: {right.abs().max():.0e}")
print(f"largest residual with u = alpha' D: {wrong.abs().max():.1f}")

with pl.viz.style():
    figure = Figure(figsize=(9.0, 2.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    box = {"origin": "lower", "aspect": "auto", "extent": (0.05, 0.95, -4.0, 4.0)}
    panels[0].imshow(torch.stack([density(x, t) for t in times], 1), cmap="Blues", **box)
    for panel, values in zip(panels[1:], (right, wrong), strict=True):
        image = panel.imshow(values.abs().clamp(min=1e-16).log10(), cmap="magma", vmin=-12.0, vmax=0.0, **box)
    figure.colorbar(image, ax=panels[2], label="$\\log_{10}$ |residual|")
    for panel, title in zip(
        panels, ("density $p_t(x)$", "residual of $u = \\alpha' D + \\sigma' E$", "of $\\alpha' D$"), strict=True
    ):
        panel.set(title=title, xlabel="$t$")
    panels[0].set_ylabel("$x$")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/continuity.png")
