"""'One Euler step is exact for rectified flow': on conditional paths only (theory T12).

From N(0, 1) to N(0, 1/4) along the linear path. A conditional path is a straight line, which one step walks exactly. The field
that training finds is the average over all lines, and bends (black). One Euler step (orange) lands on the mean.
"""

import sys

import torch

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.gaussian(torch.zeros(1).double(), 0.25 * torch.eye(1).double(), path)
draw = torch.Generator().manual_seed(0)
x_0, x_1 = torch.randn(2000, 1, generator=draw).double(), field.sample(2000, 1.0, draw)

line = pl.Field(lambda x, t: x_1 - x_0, path, pl.VELOCITY)
off = (pl.sample(line, x_0, solver="euler", steps=1) - x_1).abs().max()
print(f"one step on conditional paths, largest error: {off:.0e}")
for steps in (1, 2, 4, 8, 16, 32):
    reached = pl.sample(field, x_0, solver="euler", steps=steps)
    off = 100.0 * (1.0 - float((reached / x_0).mean()) / 0.5)
    print(f"Euler steps on the marginal field {steps}, standard deviation off by: {off:.0f} %")

start = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
with pl.viz.style():
    ax = pl.viz.phase_portrait(pl.solve(field, start, solver="rk4", steps=64), background=field, limits=(-2.4, 2.4))
    for steps, colour in ((1, pl.viz.PALETTE[1]), (2, pl.viz.PALETTE[2])):
        polygon = pl.solve(field, start, solver="euler", steps=steps)
        ax.plot(polygon.times, polygon.trajectory[:, :, 0], color=colour, linewidth=1.0)
        ax.plot([], [], color=colour, label=f"Euler, {steps} step{'s' * (steps > 1)}")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_one_step.png")
