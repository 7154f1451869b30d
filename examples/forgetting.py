"""An error made early: the flow carries it along, an SDE forgets it where it can (theory T14).

The exact field of a mixture with a flaw, a wind to the right while t < 0.3. Samples of the ODE lean to the right (grey: the data). With
noise, the score of the rest of the way pulls the cloud back, as long as particles get from one mode to the other.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
x_0 = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sampled(place, eta):
    """Samples of the field with the flaw, and the share of them in the right mode."""
    exact = pl.testing.oracles.gaussian_mixture(torch.tensor([[-place], [place]]).double(), 0.5, None, path)
    flawed = pl.Field(lambda x, t: exact(x, t).velocity + 2.0 * (t < 0.3), path, pl.VELOCITY)
    draw = torch.Generator().manual_seed(2)
    x = pl.sample(flawed, x_0, solver=pl.solvers.EulerMaruyama(eta=eta), steps=200, generator=draw)
    return x, exact.sample(2000, 1.0, torch.Generator().manual_seed(1)), float((x > 0).double().mean())


with pl.viz.style():
    figure = Figure(figsize=(9.0, 2.4), layout="constrained")
    for panel, eta in zip(figure.subplots(1, 4, sharey=True), (0.0, 0.5, 2.0, 8.0), strict=True):
        x, data, share = sampled(1.0, eta)
        print(f"share of samples in the right mode, modes near, eta = {eta:g}: {share:.2f}")
        pl.viz.histogram(x, data=data, limits=(-3.0, 3.0), title=f"eta = {eta:g}", ax=panel).get_legend().remove()
    for eta in (0.0, 8.0):
        print(f"share of samples in the right mode, modes twice as far, eta = {eta:g}: {sampled(2.0, eta)[2]:.2f}")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/forgetting.png")
