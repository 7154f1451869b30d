"""Digits controlled without training.

The exact field of 1,000 scikit-learn digits, each smoothed to a Gaussian, stands for a trained model; the digits shown were held out. First
row: the digit. Then what is seen of it, a hole in the middle (grey), and two draws given the rest by moment matching; what is left of it
after averaging 2 x 2 pixels, and two draws by Flower; SDEdit at strengths 0.3 and 0.7; last, the way from the digit to the next one along the
great circle of their noises.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl
from pathline.control import AveragePool, Flower, Mask, MomentMatching, edit, interpolate, observe

data = pl.data.load("digits")
x = data.x.double() / 8.0 - 1.0
field = pl.testing.oracles.empirical(x[:1000], pl.AffinePath(pl.Linear()), std=0.15)
truth = x[[1502, 1503, 1504, 1506, 1511, 1513]]
n, shape = len(truth), truth.shape
rows = {"digit": truth}

known = torch.ones(1, 8, 8, dtype=torch.bool)
known[:, 2:6, 1:7] = False
holed = observe(Mask(known), truth, 0.1, seeds=range(n))
rows["seen"] = torch.where(known, holed.y, 0.0)
for draw in (0, 1):
    seeds = range(100 * (draw + 1), 100 * (draw + 1) + n)
    rows[f"filled {draw + 1}"] = pl.sample(
        field, shape, solver="ddim", steps=30, seeds=seeds, guidance=MomentMatching(holed, iterations=3)
    )

small = observe(AveragePool(2), truth, 0.1, seeds=range(n))
rows["averaged"] = AveragePool(2).pinv(small.y)
for draw in (0, 1):
    seeds = range(100 * (draw + 1), 100 * (draw + 1) + n)
    rows[f"enlarged {draw + 1}"] = pl.sample(field, shape, solver=Flower(small, data_std=0.7), steps=40, seeds=seeds)

for strength in (0.3, 0.7):
    rows[f"edit {strength:g}"] = edit(field, truth, strength, solver="heun", steps=12, seeds=range(n))
for share, between in zip(
    (0.25, 0.5, 0.75), interpolate(field, truth, truth.roll(-1, 0), 5, solver="heun", steps=16)[1:4]
):
    rows[f"slerp {share:g}"] = between


def rms(a, b):
    """The root mean square difference."""
    return float((a - b).square().mean().sqrt())


print(f"misfit of the pixels seen, rms (their noise: 0.1): {rms(holed.operator(rows['filled 1']), holed.y):.2f}")
print(
    f"difference of two fillings inside the hole, rms: {rms(rows['filled 1'][..., 2:6, 1:7], rows['filled 2'][..., 2:6, 1:7]):.2f}"
)
print(f"misfit of the averages, rms (their noise: 0.1): {rms(small.operator(rows['enlarged 1']), small.y):.2f}")
print(
    f"edited at 0.3, rms from the digit: {rms(rows['edit 0.3'], truth):.2f}; at 0.7: {rms(rows['edit 0.7'], truth):.2f}"
)

with pl.viz.style():
    figure = Figure(figsize=(6.4, 12.2), layout="constrained")
    for (name, images), line in zip(rows.items(), figure.subplots(len(rows), n), strict=True):
        for image, panel in zip(images, line, strict=True):
            panel.imshow(image[0], cmap="gray_r", vmin=-1.0, vmax=1.0)
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/control_digits_like.png")
