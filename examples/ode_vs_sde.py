"""One density, many processes: the flow and SDEs of any strength have the same marginals (theory T14).

dX = (u + eta s) dt + sqrt(2 eta) dW on the exact field of a mixture, with eta = 0 (an ODE), 0.2, 1, and the classical reverse SDE.
The paths get rougher and the particles forget where they started; the densities (blue) stay the same.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

field = pl.testing.oracles.gaussian_mixture(
    torch.tensor([[-2.0], [2.0]]).double(), 0.4, None, pl.AffinePath(pl.Linear())
)
x_0 = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
data = field.sample(2000, 1.0, torch.Generator().manual_seed(1)).sort(0).values

with pl.viz.style():
    figure = Figure(figsize=(10.0, 2.7), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    for eta, panel in zip((0.0, 0.2, 1.0, "reverse"), panels, strict=True):
        solver = pl.solvers.EulerMaruyama(eta=eta)
        draw = torch.Generator().manual_seed(2) if eta else None
        solution = pl.solve(field, x_0, solver="euler" if eta == 0.0 else solver, steps=300, generator=draw)
        gap = (solution.x.sort(0).values - data).abs().mean()
        kept = torch.corrcoef(torch.cat([x_0, solution.x], 1).T)[0, 1]
        print(f"W1 to the data and correlation with the start, eta = {eta}: {gap:.3f} and {kept:.2f}")
        name = f"eta = {eta}" if eta else "eta = 0: the ODE"
        pl.viz.phase_portrait(solution, background=field, paths=12, limits=(-3.5, 3.5), title=name, ax=panel)
        panel.set_ylabel("state $x_t$" if panel is panels[0] else "")
    other = field.sample(2000, 1.0, torch.Generator().manual_seed(3)).sort(0).values
    print(f"W1 of two samples of the data, for comparison: {(other - data).abs().mean():.3f}")
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/ode_vs_sde.png")
