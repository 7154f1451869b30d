"""Why data prediction works where data is thin: the best linear network of a given width (theory T19).

Gaussian data on a plane, embedded in D dimensions, and a linear network that can pass r numbers through its narrowest layer.
The best such network is known in closed form for every prediction. Shown is the mean squared error of the x_1 that its output
stands for, over the least possible one, at t = 1/2 of the linear path with r = 16.
"""

import sys

import torch

import pathline as pl

PLANE, WIDTH, T = 2, 16, torch.tensor(0.5, dtype=torch.float64)
coefs = pl.Linear()(T)
alpha, sigma = float(coefs.alpha), float(coefs.sigma)
least = PLANE * sigma**2 / (alpha**2 + sigma**2)  # E|x_1 - D|², coordinates of variance 1


def error(prediction, size):
    """E|x_1(output) - D|² of the best rank-WIDTH map of x_t: it drops the directions of its output that vary least."""
    a, b = (float(v) for v in prediction.row(coefs))
    inside = (a * alpha + b * sigma) ** 2 / (alpha**2 + sigma**2)  # variance of E[p | x_t] along the plane
    outside = b**2  # and across it
    kept = torch.tensor([inside] * PLANE + [outside] * (size - PLANE)).sort(descending=True).values
    return float(pl.predictions.gain(coefs, prediction, pl.DATA)) * float(kept[WIDTH:].sum())


curves = {}
for prediction in (pl.DATA, pl.VELOCITY, pl.NOISE):
    curve = {size: (least + error(prediction, size)) / least for size in (4, 8, 16, 32, 64, 128, 256, 512)}
    print(f"{prediction.name} prediction, D = 16 and 512: {curve[16]:.1f} and {curve[512]:.1f}")
    curves[prediction.name] = curve

ax = pl.viz.error_curve(curves, xlabel="ambient dimension D", ylabel="error over the least error")
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/low_rank.png")
