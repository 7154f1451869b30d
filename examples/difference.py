"""Flow matching or diffusion: what differs for a sampler (theory T20, T37).

One data set, one exact field, five schedules. Left: Euler's method on equal steps of each schedule's own clock: five different errors.
Right: DDIM, which is Euler in sigma/alpha, on one and the same set of log-SNR values: five times the same error.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

schedules = {
    "flow matching (Linear)": pl.Linear(),
    "trigonometric": pl.Trig(),
    "cosine": pl.Cosine(),
    "VP diffusion": pl.VP(),
    "EDM": pl.EDM(),
}
noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
first, last = torch.tensor([-4.0, 4.0], dtype=torch.float64)
in_t, in_snr = {}, {}
for name, schedule in schedules.items():
    field = pl.testing.oracles.eight_gaussians(pl.AffinePath(schedule))
    begin, end = schedule.t_of_logsnr(first), schedule.t_of_logsnr(last)

    def run(solver, grid, field=field, schedule=schedule):
        (alpha, sigma), (alpha_s, _) = schedule(grid[0])[:2], schedule(grid[-1])[:2]
        x = noise * (alpha**2 + sigma**2) ** 0.5
        return pl.integrate(field, x, solver, grid) / alpha_s  # all start and end at the same point of the same flow

    truth = run("rk4", schedule.t_of_logsnr(torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)))
    in_t[name], in_snr[name] = {}, {}
    for steps in (4, 8, 16, 32, 64):
        levels = torch.linspace(-4.0, 4.0, steps + 1, dtype=torch.float64)
        for errors, x in (
            (in_t[name], run("euler", torch.linspace(begin, end, steps + 1, dtype=torch.float64))),
            (in_snr[name], run("ddim", schedule.t_of_logsnr(levels))),
        ):
            errors[steps] = float((x - truth).square().mean().sqrt())
    print(f"RMS error at 16 evaluations, Euler and DDIM, {name}: {in_t[name][16]:.4f} and {in_snr[name][16]:.6f}")

assert all(abs(errors[16] / in_snr["EDM"][16] - 1.0) < 1e-5 for errors in in_snr.values())
with pl.viz.style():
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    pl.viz.error_curve(in_t, title="Euler, equal steps of $t$", ax=left).get_legend().remove()
    pl.viz.error_curve(in_snr, title="DDIM, equal steps of log-SNR", ax=right)
    right.set_ylabel("")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/difference.png")
