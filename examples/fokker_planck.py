"""Particles of an SDE against the Fokker-Planck equation (theory T3, T5, T6).

Ornstein-Uhlenbeck, dX = -X dt + sqrt(2) dW, from two points at once: the density is a mixture of two normals at any time
(lines), and forgets where it started. Bars: histograms of 20,000 particles by Euler-Maruyama, written out as a loop.
"""

import sys

import torch
from matplotlib.figure import Figure
from torch.distributions import Normal

import pathline as pl

process = pl.solvers.processes.OrnsteinUhlenbeck(theta=1.0, g=2.0**0.5)
draw = torch.Generator().manual_seed(0)
start = torch.tensor([-3.0, 2.0]).double().repeat(10_000)[:, None]
x, h, moments = start, 0.005, (0.05, 0.25, 1.0, 3.0)
grid = torch.linspace(-6.0, 6.0, 241, dtype=torch.float64)


def exact(t):
    means = torch.tensor([process.mean(x_0, t) for x_0 in (torch.tensor(-3.0), torch.tensor(2.0))]).double()
    return Normal(means, process.variance(t).sqrt())


with pl.viz.style():
    figure = Figure(figsize=(8.0, 2.3), layout="constrained")
    panels = figure.subplots(1, len(moments), sharey=True)
    worst = 0.0
    for step in range(1, round(moments[-1] / h) + 1):
        kick = h**0.5 * torch.randn(x.shape, generator=draw, dtype=x.dtype)
        x = x + h * process.drift(x, x) + process.diffusion(x, x) * kick
        for t, panel in zip(moments, panels, strict=True):
            if abs(step * h - t) < h / 2:
                law = exact(t)
                cdf = law.cdf(x.sort(0).values).mean(1)
                worst = max(worst, float((cdf - (torch.arange(len(x)) + 0.5) / len(x)).abs().max()))
                panel.hist(x[:, 0].numpy(), bins=80, range=(-6.0, 6.0), density=True, color=pl.viz.PALETTE[5])
                panel.plot(grid, law.log_prob(grid[:, None]).exp().mean(1), color="black")
                panel.set(title=f"$t = {t:g}$", xlabel="$x$", ylim=(0.0, 0.7))
    assert worst < 1.63 / len(x) ** 0.5
    print(f"largest distance of the distribution functions: {worst:.3f}")
    print(f"what chance alone allows at 20,000 particles (99 %): {1.63 / len(x) ** 0.5:.3f}")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/fokker_planck.png")
