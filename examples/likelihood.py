"""The density of a flow at any point, from its velocity alone (theory T7).

Left: log p of the eight Gaussians as the integral of -div u along the flow reads it. Right: its RMS error against the closed
form over the evaluations of the field, with the exact divergence.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
x_1 = field.sample(100, 1.0, torch.Generator().manual_seed(0))
truth = field.log_prob(x_1)
errors = {}
for name in ("euler", "heun", "rk4", "abm2"):
    errors[name] = {}
    for evaluations in (16, 32, 64, 128):
        read = pl.log_prob(field, x_1, solver=name, evaluations=evaluations)
        errors[name][evaluations] = float((read - truth).square().mean().sqrt())
    print(f"RMS error at 32 and 128 evaluations, {name}: {errors[name][32]:.3f} and {errors[name][128]:.4f} nats")

draw = torch.Generator().manual_seed(1)
probed = pl.log_prob(field, x_1.repeat(20, 1), divergence="hutchinson", solver="heun", steps=16, generator=draw)
off = probed.reshape(20, 100) - pl.log_prob(field, x_1, solver="heun", steps=16)
print(f"one random direction, spread of log p between draws: {off.std(0).mean():.2f} nats")
print(f"one random direction, mean over all draws less the exact divergence: {off.mean():+.3f} nats")
print(f"standard error of that mean: {off.std() / off.numel() ** 0.5:.3f} nats")

side = torch.linspace(-7.0, 7.0, 48, dtype=torch.float64)
logs = pl.log_prob(field, torch.cartesian_prod(side, side), solver="abm2", steps=32).reshape(48, 48).T
with pl.viz.style():
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(logs, origin="lower", extent=(-7.0, 7.0, -7.0, 7.0), vmin=-15.0, cmap="viridis")
    figure.colorbar(image, ax=left, label="$\\log p_1(x)$, nats", extend="min")
    pl.viz.error_curve(errors, ylabel="RMS error (nats)", ax=right)
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/likelihood.png")
