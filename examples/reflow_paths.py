"""Paths before and after one reflow (theory T32).

Left: the exact flow from noise to eight Gaussians; its paths bend where lines of different pairs average out. Right: a small
network trained on the ends of these paths. It carries the noise to nearly the same places, on nearly straight lines.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
before = pl.testing.oracles.eight_gaussians(path, radius=4.0, variance=0.05, dtype=torch.float32)
g = torch.Generator().manual_seed(0)
x_0 = torch.randn(2048, 2, generator=g)
x_1 = pl.sample(before, x_0, solver="heun", steps=40)

torch.manual_seed(0)
net = pl.nets.MLP(2, width=96, depth=3)
objective, optimizer = pl.Matching(path, pl.VELOCITY), torch.optim.Adam(net.parameters(), lr=5e-3)
for step in range(400):
    rows = torch.randint(len(x_0), (256,), generator=g)
    optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 400)
    optimizer.zero_grad()
    objective(net, x_1[rows], x_0[rows], generator=g).backward()
    optimizer.step()
after = pl.Field(net, path, pl.VELOCITY)

fresh = torch.randn(500, 2, generator=g)
for name, field in (("before", before), ("after", after)):
    found = pl.metrics.measure_transport(field, fresh, solver="heun", steps=50)
    one = pl.sample(field, fresh, solver="euler", steps=1)
    miss = (one - pl.sample(field, fresh, solver="heun", steps=50)).square().sum(1).mean().sqrt()
    print(f"curvature {name}: {found.curvature:.4f}")
    print(f"one Euler step from the end of the path, {name}: {miss:.2f}")

with pl.viz.style():
    figure = Figure(figsize=(7.0, 3.5), layout="constrained")
    for panel, field, title in zip(figure.subplots(1, 2), (before, after), ("before", "after one reflow"), strict=True):
        states = pl.solve(field, fresh[:150], solver="heun", steps=40).trajectory
        panel.plot(states[..., 0], states[..., 1], color=pl.viz.PALETTE[0], lw=0.5, alpha=0.7)
        panel.scatter(*states[-1].T, s=4, color=pl.viz.PALETTE[1], zorder=3)
        panel.set(title=title, aspect="equal", xticks=[], yticks=[])
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/reflow_paths.png")
