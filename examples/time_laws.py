"""Where training looks: laws of the time (theory T26).

Histograms of 100,000 draws of t from each law, noise at t = 0 and data at t = 1. The numbers are the share of
the draws in the noisier half, alpha < sigma on the linear path.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

laws = {
    "uniform": pl.times.uniform(),
    "logit-normal(0, 1)": pl.times.logit_normal(0.0, 1.0),
    "logit-normal(-0.8, 0.8)": pl.times.logit_normal(-0.8, 0.8),
    "mode(1.29)": pl.times.mode(1.29),
    "cosmap": pl.times.cosmap(),
    "beta(2, 1)": pl.times.beta(2.0, 1.0),
    "shifted(3)": pl.times.shifted(3.0),
    "EDM's, on Linear": pl.times.log_snr_normal(pl.Linear()),
}
with pl.viz.style():
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for panel, (name, law) in zip(panels.flat, laws.items(), strict=True):
        t = law.sample(100_000, generator=torch.Generator().manual_seed(0))
        panel.hist(t.numpy(), bins=60, range=(0.0, 1.0), density=True, color=pl.viz.PALETTE[0])
        panel.set(title=name, xlim=(0.0, 1.0))
        print(f"share of draws below t = 1/2, {name}: {(t < 0.5).double().mean():.3f}")
    for panel in panels[1]:
        panel.set_xlabel("$t$")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/time_laws.png")
