"""A bridge between two distributions, walked without and with noise (theory T29, T14).

Two normals at t = 0 become three at t = 1 along x_t = t x_1 + (1 - t) x_0 + gamma z, gamma = 0.6 sqrt(t (1 - t)). Left: the flow.
Right: the SDE with the noise of the bridge itself, eta = 0.6²/2. Lines differ, densities do not.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl
from pathline.paths import schrodinger_bridge
from pathline.solvers import EulerMaruyama
from pathline.testing.oracles import mixture_bridge


def spread(stds: list[float]) -> torch.Tensor:
    return torch.tensor(stds, dtype=torch.float64)[:, None, None] ** 2


source, data = torch.tensor([[-1.5], [1.5]]).double(), torch.tensor([[-3.0], [0.0], [3.0]]).double()
field = mixture_bridge(source, spread([0.3, 0.3]), data, spread([0.25, 0.25, 0.25]), schrodinger_bridge(0.6))
g = torch.Generator().manual_seed(0)
x_0, _ = field.pairs(1500, g)

flow = pl.solve(field, x_0, solver="heun", steps=80)
noisy = pl.solve(field, x_0, solver=EulerMaruyama(eta=0.5 * 0.6**2), steps=160, generator=g)
for name, solution in (("flow", flow), ("SDE", noisy)):
    near = (solution.x - data.T).abs().argmin(1)
    share = torch.bincount(near, minlength=3) / len(near)
    assert (share - 1 / 3).abs().max() < 0.05
    print(f"share at each of the three normals, {name}: {', '.join(f'{v:.2f}' for v in share)}")

with pl.viz.style():
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    for panel, solution, title in zip(figure.subplots(1, 2, sharey=True), (flow, noisy), ("flow", "SDE"), strict=True):
        panel.plot(solution.times, solution.trajectory[:, :60, 0], color=pl.viz.PALETTE[0], lw=0.5, alpha=0.7)
        panel.set(title=title, xlabel="$t$", xlim=(0.0, 1.0))
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/bridges.png")
