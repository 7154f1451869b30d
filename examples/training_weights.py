"""Flow matching or diffusion: what differs in training (theory T18, T26).

Every objective of this field is the squared error of one and the same prediction, weighted over the log-SNR. Shown is that weight for the error
of the noise prediction: the density of the log-SNR under the law of t, times (D'/D)², set to one at log-SNR 0.
"""

import sys

import numpy as np
import torch
from matplotlib.figure import Figure

import pathline as pl

linear, edm = pl.AffinePath(pl.Linear()), pl.EDM()
objectives = {
    "flow matching, t uniform": pl.Matching(linear, pl.VELOCITY),
    "v prediction, trigonometric": pl.Matching(pl.AffinePath(pl.Trig()), pl.V),
    "flow matching, logit-normal": pl.Matching(linear, pl.VELOCITY, times=pl.times.logit_normal()),
    "noise prediction, VP": pl.Matching(pl.AffinePath(pl.VP()), pl.NOISE),
    "EDM": pl.Matching(pl.AffinePath(edm), pl.edm_f(), times=pl.times.log_snr_normal(edm)),
}
u = torch.sigmoid(torch.linspace(-16.0, 16.0, 200_001, dtype=torch.float64))


def weight(objective, level):
    """p(log-SNR) times the factor that turns an error of the noise prediction into the error that is counted."""
    schedule = objective.path.schedule
    reached = schedule.log_snr(objective.times.quantile(u))
    density = np.gradient(np.interp(level, reached, u), level)
    coefs = schedule(schedule.t_of_logsnr(torch.as_tensor(level)))
    return density * np.asarray(pl.predictions.gain(coefs, pl.NOISE, objective.space, 1e-9))


level = np.linspace(-4.2, 4.2, 337)
weights = {name: weight(objective, level) for name, objective in objectives.items()}
weights = {name: w / w[len(w) // 2] for name, w in weights.items()}
for name, w in weights.items():
    print(f"weight at log-SNR -3 and +3, {name}: {np.interp(-3.0, level, w):.2f} and {np.interp(3.0, level, w):.3f}")
first, second = (weights[name] for name in list(objectives)[:2])
print(f"largest relative difference of the first two: {abs(first / second - 1.0).max():.0e}")

with pl.viz.style():
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    ax = figure.subplots()
    for (name, w), colour, dashes in zip(weights.items(), pl.viz.PALETTE, ("-", "--", "-", "-", "-"), strict=False):
        ax.semilogy(level, w, dashes, color=colour, label=name)
    ax.set(
        xlabel="$\\lambda = \\log(\\alpha/\\sigma)$: noise on the left, data on the right",
        ylabel="weight",
        xlim=(-4.0, 4.0),
        ylim=(1e-3, 100.0),
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/training_weights.png")
