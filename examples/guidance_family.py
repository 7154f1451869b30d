"""One class of eight under every method of guidance.

Eight Gaussians on a circle, class 1 asked for (its exact draws: grey), and the same noise under each method at w = 2 and 4. Plain guidance
drives the class outwards and squeezes it; an interval does less of both; CFG-Zero* and APG keep its distance from the centre and squeeze it
to a ray; autoguidance, with a field of wider modes as the weak one, squeezes it where it stands. Rescaling restores a spread over the
entries of a sample, which means little where they are two. The exact classifier's gradient is plain guidance.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl
from pathline.guidance import APG, Autoguidance, CFGZero, ClassifierGuidance, Interval, Rescale

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.eight_gaussians(path, radius=2.0, variance=0.25)
weak = pl.testing.oracles.gaussian_mixture(field.means, 0.8, None, path, labels=torch.arange(8))


def log_class(x, t, y):
    """log p(y | x_t), exact."""
    return field.class_log_prob(x, t).gather(1, y[:, None])[:, 0]


methods = {
    "CFG": pl.CFG,
    "interval": lambda w: Interval(w, 0.3, 0.8),
    "rescale": lambda w: Rescale(w, phi=0.7),
    "CFG-Zero*": CFGZero,
    "APG": lambda w: APG(w, eta=0.0, radius=0.5),
    "autoguidance": lambda w: Autoguidance(w, weak),
    "classifier": lambda w: ClassifierGuidance(w, log_class),
}
x_0 = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
asked = field.sample(400, 1.0, torch.Generator().manual_seed(1), y=1)
print(
    f"exact draws of the class: agreement {field.class_log_prob(asked)[:, 1].exp().mean():.2f}, spread {asked.std(0).mean():.2f}"
)

with pl.viz.style():
    figure = Figure(figsize=(12.0, 4.1), layout="constrained")
    for row, axes in zip((2.0, 4.0), figure.subplots(2, len(methods), sharex=True, sharey=True), strict=True):
        for (name, make), panel in zip(methods.items(), axes, strict=True):
            x = pl.sample(field, x_0, solver="heun", steps=20, guidance=make(row), y=1)
            sure, spread = field.class_log_prob(x)[:, 1].exp().mean(), x.std(0).mean()
            print(
                f"{name:12} w = {row:g}: agreement {sure:.2f}, mean radius {x.norm(dim=1).mean():.2f}, spread {spread:.2f}"
            )
            pl.viz.scatter(
                x, data=asked, layout="over", limits=(-1.0, 4.2, -1.0, 4.2), title=f"{name}, w = {row:g}", ax=panel
            )
            panel.get_legend().remove()
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/guidance_family.png")
