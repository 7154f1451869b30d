"""'Flow matching has ODE samplers only': its velocity knows the score (theory T14, T17).

The field is given as what flow matching trains, a velocity and nothing else. The score is read from it by the conversion, so
dX = (u + eta s) dt + sqrt(2 eta) dW can be run at any eta. Variance and kurtosis of the samples stay those of the data.
"""

import sys

import torch
from matplotlib.figure import Figure

import pathline as pl

path = pl.AffinePath(pl.Linear())
exact = pl.testing.oracles.gaussian_mixture(torch.tensor([[-1.0], [1.0]]).double(), 0.5, None, path)
field = pl.Field(lambda x, t: exact(x, t).velocity, path, pl.VELOCITY)
x_0 = torch.randn(8_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
data = exact.sample(8_000, 1.0, torch.Generator().manual_seed(1))


def moments(x):
    return f"{x.var():.2f} and {((x - x.mean()) / x.std()).pow(4).mean():.2f}"


print("variance and kurtosis of the data, exact: 1.25 and 1.72")
print(f"variance and kurtosis, 8,000 draws of the data: {moments(data)}")
with pl.viz.style():
    figure = Figure(figsize=(9.0, 2.3), layout="constrained")
    for panel, eta in zip(figure.subplots(1, 4, sharey=True), (0.0, 0.5, 1.0, 3.0), strict=True):
        draw = torch.Generator().manual_seed(2)
        x = pl.sample(field, x_0, solver=pl.solvers.EulerMaruyama(eta=eta), steps=150, generator=draw)
        print(f"variance and kurtosis, eta = {eta:g}: {moments(x)}")
        pl.viz.histogram(x, data=data, limits=(-3.0, 3.0), title=f"eta = {eta:g}", ax=panel).get_legend().remove()
    pl.viz.save(figure, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/wrong_only_ode.png")
