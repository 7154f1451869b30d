"""Schedules: signal, noise, and the log-SNR that they run through (theory T21-T25).

All in one clock, noise at t = 0 and data at t = 1. EDM is drawn divided by its largest sigma, since it starts at 80. The
cosine schedule nearly is the trigonometric one, and the DDPM table nearly VP (dashed on top).
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

schedules = {
    "Linear": pl.Linear(),
    "Trig": pl.Trig(),
    "Cosine": pl.Cosine(),
    "VP": pl.VP(),
    "DDPM, linear": pl.DDPM.linear(),
    "EDM": pl.EDM(),
}
t = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
with pl.viz.style():
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    looks = zip(schedules.items(), pl.viz.PALETTE, ("-", "-", "--", "-", "--", "-"), strict=False)
    for (name, schedule), colour, dashes in looks:
        alpha, sigma = (torch.as_tensor(v).expand(len(t)) for v in schedule(t)[:2])
        panels[0].plot(t, alpha, dashes, color=colour)
        panels[1].plot(t, sigma / sigma.max(), dashes, color=colour)
        panels[2].plot(t[1:-1], schedule.log_snr(t)[1:-1], dashes, color=colour, label=name)
        first, last = schedule.log_snr(t[[0, -1]]).tolist()
        print(f"log-SNR of {name} from t = 0 to 1: {first:.1f} to {last:.1f}")
    for panel, title in zip(
        panels, ("$\\alpha_t$", "$\\sigma_t$", "$\\lambda_t = \\log(\\alpha_t/\\sigma_t)$"), strict=True
    ):
        panel.set(title=title, xlabel="$t$")
    panels[2].set_ylim(-8.0, 8.0)
    panels[2].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/schedules.png")
