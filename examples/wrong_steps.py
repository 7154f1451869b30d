"""'RK4 needs 50 steps': that is 200 evaluations, and loops that stop early (theory T4).

Left: RMS error on the eight Gaussians by steps, as it is often shown. Right: the same numbers by evaluations of the field, which is what
is paid for. The orange cross is an Euler loop of 50 steps that stops at t = 1 - h, as many listings do.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
x_0 = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
truth = pl.sample(field, x_0, solver="rk4", steps=200, grid=pl.times.cosine())


def error(x):
    return float((x - truth).square().mean().sqrt())


by_steps, by_cost = {}, {}
for name in ("euler", "heun", "rk4", "ab2"):
    by_steps[name], by_cost[name] = {}, {}
    for steps in (3, 6, 12, 25, 50, 100):
        solution = pl.solve(field, x_0, solver=name, steps=steps)
        by_steps[name][steps] = by_cost[name][solution.evaluations] = error(solution.x)

goal = by_steps["euler"][100]
print(f"RMS error of 100 Euler steps: {goal:.4f}")
for name in ("heun", "rk4", "ab2"):
    solver = pl.SOLVERS[name]
    steps = next(n for n in range(2, 100) if error(pl.sample(field, x_0, solver=name, steps=n)) <= goal)
    print(f"evaluations for the same, {name}: {solver.evaluations(steps)}")
cost = pl.SOLVERS["rk4"].evaluations(50)
print(f"RMS error and evaluations of 50 steps of RK4: {by_steps['rk4'][50]:.5f} and {cost}")
short = error(pl.integrate(field, x_0, "euler", torch.linspace(0.0, 1.0, 51, dtype=torch.float64)[:-1]))
print(f"RMS error of 50 Euler steps: {by_steps['euler'][50]:.4f}")
print(f"RMS error of 50 Euler steps that stop at 1 - h: {short:.4f}, {short / by_steps['euler'][50]:.1f} times as much")

with pl.viz.style():
    figure = Figure(figsize=(8.5, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    pl.viz.error_curve(by_steps, xlabel="steps", ax=left).get_legend().remove()
    pl.viz.error_curve(by_cost, ax=right).set_ylabel("")
    right.plot(50, short, "X", color=pl.viz.PALETTE[1], markersize=8.0)
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_steps.png")
