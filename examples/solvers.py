"""What an evaluation buys: solvers on the eight Gaussians (theory T4, T36, T37).

RMS distance of 1,000 end points from the converged flow over the evaluations of the exact field: the methods for velocities on
equal steps of t, those in log-SNR on equal steps of it. A step of Euler is one evaluation, of Heun two, of RK4 four; the
multistep methods need one and reuse old ones.
"""

import sys

import torch

import pathline as pl

field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
x_0 = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
truth = pl.sample(field, x_0, solver="rk4", steps=200, grid=pl.times.cosine())

grids = {
    "euler": pl.times.uniform(),
    "heun": pl.times.uniform(),
    "rk4": pl.times.uniform(),
    "ab2": pl.times.uniform(),
    "dpmpp_2m": pl.times.log_snr_uniform(pl.Linear(), -5.0, 5.0),
    "unipc": pl.times.log_snr_uniform(pl.Linear(), -5.0, 5.0),
}
errors = {}
for name, grid in grids.items():
    errors[name] = {}
    for evaluations in (4, 8, 16, 32, 64, 128):
        if pl.SOLVERS[name].evaluations(2) <= evaluations:
            x_1 = pl.sample(field, x_0, solver=name, evaluations=evaluations, grid=grid)
            errors[name][evaluations] = float((x_1 - truth).square().mean().sqrt())
    print(f"RMS error at 16 and 64 evaluations, {name}: {errors[name][16]:.4f} and {errors[name][64]:.5f}")

ax = pl.viz.error_curve(errors)
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/solvers.png")
