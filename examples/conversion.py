"""One network call, four readings, and where each of them is blind (theory T17, T18).

What an error of one in a prediction becomes in the velocity, |D'/D|, along the linear path (left) and the trigonometric one
(right). Noise prediction says nothing at t = 0, where x_t is the noise; data prediction nothing at t = 1, where it is the data.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

linear = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.eight_gaussians(linear)
x_t, moment = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
estimate = field(x_t, moment)
for name, prediction in pl.PREDICTIONS.items():
    value = estimate.read(prediction)
    back = linear.read(x_t, moment, prediction, value)
    error = (back.velocity - estimate.velocity).abs().max()
    assert error < 1e-10
    print(f"{name}: ({value[0, 0]:+.3f}, {value[0, 1]:+.3f}), velocity from it alone off by {error:.0e}")

t = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
with pl.viz.style():
    figure = Figure(figsize=(8.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, schedule in zip(panels, (pl.Linear(), pl.Trig()), strict=True):
        for prediction, colour in zip((pl.DATA, pl.NOISE, pl.VELOCITY, pl.SCORE, pl.V), pl.viz.PALETTE, strict=False):
            gain = pl.predictions.conversion(schedule(t), prediction, pl.VELOCITY)[1]
            panel.semilogy(t, torch.as_tensor(gain).abs().expand(len(t)), color=colour, label=prediction.name)
        panel.set(title=f"{schedule!r}", xlabel="$t$", ylim=(0.1, 100.0))
        panel.grid(axis="y")
    panels[0].set_ylabel("error of the velocity")
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="error of 1 in")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/conversion.png")
