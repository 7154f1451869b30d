"""Classifier-free guidance on an exact field (theory T33).

Three classes in the plane, class 0 asked for. Grey: the class as it is. Blue: samples at w = 0 (class ignored), 1 (no
guidance), 2 and 4. Guidance moves samples away from the other classes and squeezes them together: it does not sample the class.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

means = torch.tensor([[0.0, 1.2], [-1.0, -0.6], [1.0, -0.6]], dtype=torch.float64)
path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.gaussian_mixture(means, 0.5, None, path, labels=torch.arange(3))
x_0 = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
asked = field.sample(2000, 1.0, torch.Generator().manual_seed(1), y=0)

with pl.viz.style():
    figure = Figure(figsize=(10.0, 2.8), layout="constrained")
    for w, panel in zip((0.0, 1.0, 2.0, 4.0), figure.subplots(1, 4, sharey=True), strict=True):
        x_1 = pl.sample(field, x_0, solver="heun", steps=32, guidance=w, y=0)
        sure = field.class_log_prob(x_1)[:, 0].exp().mean()
        height, spread = x_1[:, 1].mean(), x_1.std(0).mean()
        print(f"w = {w:g}: p(class 0 | sample) {sure:.3f}, mean height {height:.2f}, spread {spread:.3f}")
        pl.viz.scatter(x_1, data=asked, layout="over", limits=(-3.0, 3.0, -2.5, 4.0), title=f"w = {w:g}", ax=panel)
        panel.get_legend().remove()
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/guidance.png")
