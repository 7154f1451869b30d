"""Euler has order 1, Heun 2, Kutta's method 4 (theory T4).

Distance from the exact flow of a mixture, whose order-keeping map is known through its distribution function, against
the number of evaluations. Dotted lines have the slopes 1, 2 and 4.
"""

import sys

import torch
from torch.distributions import Normal

import pathline as pl

path = pl.AffinePath(pl.Trig())
means, std = torch.tensor([-1.0, 1.0]).double(), 0.6
field = pl.testing.oracles.gaussian_mixture(means[:, None], std, None, path)
x_0 = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)[:, None]

low, high = torch.full_like(x_0, -5.0), torch.full_like(x_0, 5.0)
for _ in range(60):  # the flow on the line keeps quantiles: bisect for the point of the same level
    middle = (low + high) / 2
    below = Normal(means, std).cdf(middle).mean(1, keepdim=True) < Normal(0.0, 1.0).cdf(x_0)
    low, high = torch.where(below, middle, low), torch.where(below, high, middle)

errors = {}
for name in ("euler", "heun", "rk4"):
    solver = pl.SOLVERS[name]
    errors[name] = {}
    for steps in (4, 8, 16, 32, 64):
        solution = pl.solve(field, x_0, solver=solver, steps=steps)
        errors[name][solution.evaluations] = float((solution.x - low).pow(2).mean().sqrt())
    last = list(errors[name].values())[-2:]
    order = float(torch.tensor(last[0] / last[1]).log2())
    assert abs(order - solver.order) < 0.2
    print(f"order of {name}, from the last doubling: {order:.2f}")

ax = pl.viz.error_curve(errors, orders=(1, 2, 4))
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/orders.png")
