"""Any schedule can be swapped after training (theory T20).

Left: six solution paths on the eight Gaussians, first coordinate, under four schedules: four different pictures. Right: the same
paths, x_t divided by sqrt(alpha² + sigma²) and over the log-SNR: one picture.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

schedules = {"linear": pl.Linear(), "trigonometric": pl.Trig(), "VP": pl.VP(), "polynomial": pl.Polynomial(3.0)}
levels = torch.linspace(-4.0, 4.0, 201, dtype=torch.float64)
start = 1.5 * torch.randn(6, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

with pl.viz.style():
    figure = Figure(figsize=(8.5, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = []
    for (name, schedule), colour, width in zip(schedules.items(), pl.viz.PALETTE, (5.0, 3.4, 2.0, 0.8), strict=False):
        field = pl.testing.oracles.eight_gaussians(pl.AffinePath(schedule))
        grid = schedule.t_of_logsnr(levels)
        size = (schedule(grid).alpha ** 2 + schedule(grid).sigma ** 2).sqrt()
        states = [start * size[0]]
        for step in grid.unfold(0, 2, 1):
            states.append(pl.integrate(field, states[-1], "rk4", step))
        first = torch.stack(states)[:, :, 0]
        scaled = first / size[:, None]
        left.plot(grid, first, color=colour, linewidth=1.0)
        right.plot(levels, scaled, color=colour, linewidth=width)
        ends.append(scaled)
        left.plot([], [], color=colour, label=name)
    left.set(xlabel="$t$", ylabel="$x_t$")
    right.set(xlabel="$\\lambda = \\log(\\alpha/\\sigma)$", ylabel="$x_t / \\sqrt{\\alpha^2 + \\sigma^2}$")
    left.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    off = (torch.stack(ends) - ends[0]).abs().max()
    assert off < 1e-5
    print(f"largest difference between the scaled paths of two schedules: {off:.0e}")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/swap_schedule.png")
