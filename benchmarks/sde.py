"""Orders of every stochastic solver, and Euler-Maruyama's bias, without sampling where the theory allows (T5, T6, T14).

Weak errors are exact: a step of a linear process is a polynomial in its normal, whose moments a Gauss-Hermite rule knows,
and a chain on a Gaussian flow is linear in its start and in every normal, so unit impulses give its mean and variance.
Strong errors compare with the exact solution of the same Brownian path, which `BrownianTree` refines.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from pathline.solvers import Bound, EulerMaruyama, Noise, Solver, StochasticHeun
from pathline.solvers.brownian import BrownianTree
from pathline.solvers.integrate import run
from pathline.solvers.processes import GeometricBrownianMotion, OrnsteinUhlenbeck, Process
from pathline.solvers.sde import ETAS, ProcessField
from pathline.solvers.simulate import simulate

OU = OrnsteinUhlenbeck(theta=1.3, g=0.8)
GBM = GeometricBrownianMotion(mu=0.7, g=0.5)
STEPS = (8, 16, 32, 64, 128)


class Impulses(Noise):
    """The normal of draw k is 1 for row 2 + k and 0 for all others."""

    def __init__(self) -> None:
        self.count = 0

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[2 + self.count] = 1.0
        self.count += 1
        return out


class Given(Noise):
    """The same number for every increment."""

    def __init__(self, value: float) -> None:
        self.value = value

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


def slope(steps: tuple[int, ...], errors: list[float]) -> float:
    """Slope of log error over log step size."""
    x, y = -torch.log(torch.tensor(steps).double()), torch.log(torch.tensor(errors).double())
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def chain_moments(solver: Solver, process: Process, times: Tensor) -> tuple[float, float]:
    """E X and E X² at the end of the chain from X = 1, for a process linear in X."""
    field = Bound(ProcessField(process))
    jacobi = torch.diag(torch.arange(1.0, 5.0).double().sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(jacobi + jacobi.T)
    weights, ends = vectors[0] ** 2, torch.tensor([[0.0], [1.0]]).double()
    first, second = 1.0, 1.0
    for t, s in pairwise(times):
        out = torch.stack([solver.step(field, ends, t, s, Given(float(z)))[0][:, 0] for z in nodes])
        b, a = out[:, 0], out[:, 1] - out[:, 0]
        aa, ab, bb, a_mean, b_mean = (float((weights * v).sum()) for v in (a**2, 2.0 * a * b, b**2, a, b))
        first, second = a_mean * first + b_mean, aa * second + ab * first + bb
    return first, second


def flow_moments(solver: Solver, field: pl.BaseField, steps: int) -> tuple[float, float]:
    """Mean and variance that the solver makes of N(0, 1) on a Gaussian flow in one dimension."""
    rows = torch.zeros(2 + steps, 1, dtype=torch.float64)
    rows[1] = 1.0
    grid = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    end = run(Bound(field), rows, solver, grid, noise=Impulses()).x[:, 0]
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


def strong(process: Process, solver: Solver) -> list[float]:
    """RMS distance to the exact solution of the same paths."""
    tree, x_0 = BrownianTree(range(1000)), torch.ones(1000, 1, dtype=torch.float64)
    if isinstance(process, GeometricBrownianMotion):
        exact = process.exact(x_0, 1.0, tree.at(x_0, 1.0))
    else:  # by parts: X_1 = e^-theta + g W_1 - g theta int e^{-theta(1 - s)} W_s ds
        nodes = torch.linspace(0.0, 1.0, 2049, dtype=torch.float64)
        weight = torch.exp(-OU.theta * (1.0 - nodes)) / 2048.0
        weight[0], weight[-1] = weight[0] / 2.0, weight[-1] / 2.0
        area = sum(w * tree.at(x_0, s) for w, s in zip(weight, nodes, strict=True))
        exact = OU.mean(x_0, 1.0) + OU.g * (tree.at(x_0, 1.0) - OU.theta * area)
    return [
        float(
            (simulate(process, x_0, torch.linspace(0.0, 1.0, n + 1), method=solver, noise=tree, record=False).x - exact)
            .square()
            .mean()
            .sqrt()
        )
        for n in STEPS
    ]


def processes() -> tuple[str, dict[str, Any]]:
    """Weak and strong orders on the two test equations."""
    rows, record = [], {}
    exact = {
        "OU": (OU, float(OU.mean(torch.ones(1).double(), 1.0)) ** 2 + float(OU.variance(1.0))),
        "GBM": (GBM, float(GBM.second_moment(torch.ones(1).double(), 1.0))),
    }
    for name, solver in (("euler_maruyama", EulerMaruyama()), ("stochastic_heun", StochasticHeun())):
        for label, (process, second) in exact.items():
            weak = [
                abs(chain_moments(solver, process, torch.linspace(0.0, 1.0, n + 1).double())[1] - second) for n in STEPS
            ]
            paths = strong(process, solver)
            rows.append((name, label, slope(STEPS, weak), weak[0], weak[-1], slope(STEPS, paths), paths[0], paths[-1]))
            record[f"{name} {label}"] = {"weak": weak, "strong": paths}
    text = (
        f"Time 1 in {STEPS[0]} to {STEPS[-1]} steps from X = 1. OU: dX = -{OU.theta} X dt + {OU.g} dW; GBM: dX = {GBM.mu} X dt + "
        f"{GBM.g} X dW. Weak: error of E X², exact. Strong: RMS error over 1,000 paths.\n\n"
    )
    columns = ("solver", "process", "weak order", "error at 8", "at 128", "strong order", "error at 8", "at 128")
    return text + _bench.table(columns, rows), record


def marginals() -> tuple[str, dict[str, Any]]:
    """The order at which a flow's end is reached, for every stochastic solver and every named eta."""
    path = pl.AffinePath(pl.Trig())
    field = pl.testing.oracles.gaussian(torch.tensor([2.0]).double(), torch.tensor([[0.25]]).double(), path)
    contenders = {name: solver for name, solver in pl.SOLVERS.items() if solver.stochastic}
    for eta in ETAS:
        contenders[f"euler_maruyama, {eta}"] = EulerMaruyama(eta=eta)
        contenders[f"stochastic_heun, {eta}"] = StochasticHeun(eta=eta)
    rows, record = [], {}
    for name, solver in contenders.items():
        found = [flow_moments(solver, field, n) for n in STEPS]
        errors = [abs(mean - 2.0) + abs(variance - 0.25) for mean, variance in found]
        rows.append((name, solver.order, slope(STEPS, errors), slope(STEPS[-2:], errors[-2:]), errors[0], errors[-1]))
        record[name] = errors
    text = (
        "N(0, 1) to N(2, 1/4) on the trigonometric path, uniform grid: |error of the mean| + |error of the variance|, exact. A name after "
        "the solver is its eta. edm_churn raises the noise by min(40/n, 0.41), the same on all grids of fewer than 97 steps, so that "
        "its order shows beyond.\n\n"
    )
    return text + _bench.table(("solver", "declared", "order", "order at 128", "error at 8", "at 128"), rows), record


def bias() -> tuple[str, dict[str, Any]]:
    """The stationary variance of Euler-Maruyama on OU."""
    rows, record = [], {}
    for h in (0.05, 0.1, 0.2, 0.5, 1.0):
        first, second = chain_moments(EulerMaruyama(), OU, h * torch.arange(0.0, math.ceil(20.0 / h) + 1.0).double())
        closed = OU.g**2 / (2.0 * OU.theta - OU.theta**2 * h)
        drawn = simulate(
            OU,
            torch.zeros(100_000, 1),
            h * torch.arange(0.0, math.ceil(6.0 / h) + 1.0),
            generator=torch.Generator().manual_seed(0),
            record=False,
        ).x
        rows.append((f"{h:g}", second - first**2, closed, float(drawn.var()), OU.g**2 / (2.0 * OU.theta)))
        record[f"{h:g}"] = {"chain": second - first**2, "closed": closed, "drawn": float(drawn.var())}
    text = "Variance in the long run; closed form g²/(2 theta - theta² h); 100,000 draws have a standard error of 0.4 %.\n\n"
    return text + _bench.table(("h", "of the chain", "closed form", "drawn", "of the process"), rows), record


def main() -> None:
    """Measure and write the results."""
    options = _bench.parser(__doc__).parse_args()
    _bench.setup(options.threads)
    parts = {
        "Orders on test equations": processes,
        "Orders on a flow": marginals,
        "Euler-Maruyama's stationary bias": bias,
    }
    found = {title: part() for title, part in parts.items()}
    if options.quick:
        print("\n\n".join(text for text, _ in found.values()))
        return
    _bench.write(
        "sde",
        "Stochastic solvers",
        [(title, text) for title, (text, _) in found.items()],
        {t: d for t, (_, d) in found.items()},
    )


if __name__ == "__main__":
    main()
