"""'Guidance scale 4': of which formula? (theory T33).

Here (1 - w) u(none) + w u(y), where w = 1 is no guidance. Elsewhere (1 + w') u(y) - w' u(none), where w' = 0 is none and w = 1 + w'. The same
number means a different picture: mean and spread of the samples of one class over the number that is typed.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

means = torch.tensor([[0.0, 1.2], [-1.0, -0.6], [1.0, -0.6]], dtype=torch.float64)
field = pl.testing.oracles.gaussian_mixture(means, 0.5, None, pl.AffinePath(pl.Linear()), labels=torch.arange(3))
x_0 = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(scale):
    """The other convention, written out."""

    def velocity(x, t):
        return (1 + scale) * field(x, t, y=0).velocity - scale * field(x, t).velocity

    return pl.sample(pl.Field(velocity, field.path, pl.VELOCITY), x_0, solver="heun", steps=32)


typed = (0.0, 1.0, 2.0, 3.0, 4.0)
ours = {w: pl.sample(field, x_0, solver="heun", steps=32, guidance=w, y=0) for w in (*typed, 5.0)}
theirs = {w: by_hand(w) for w in typed}
for w in typed:
    print(f"mean height at {w:g}, as w and as w': {ours[w][:, 1].mean():.2f} and {theirs[w][:, 1].mean():.2f}")
worst = max(float((theirs[w] - ours[w + 1.0]).abs().max()) for w in typed)
assert worst < 1e-10
print(f"largest difference between w' and w = 1 + w': {worst:.0e}")

with pl.viz.style():
    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    for panel, measure, name in zip(
        figure.subplots(1, 2),
        (lambda x: x[:, 1].mean(), lambda x: x.std(0).mean()),
        ("mean height", "spread"),
        strict=True,
    ):
        panel.plot(typed, [measure(ours[w]) for w in typed], "o-", label="$(1 - w)\\,u + w\\,u_y$")
        panel.plot(
            typed, [measure(theirs[w]) for w in typed], "s-", color=pl.viz.PALETTE[1], label="$(1 + w')\\,u_y - w'\\,u$"
        )
        panel.set(xlabel="the number that is typed", ylabel=name)
    panel.legend()
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_scale.png")
