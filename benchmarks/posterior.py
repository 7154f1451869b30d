"""How far posterior methods are from exact posteriors of Gaussians and mixtures under linear observations.

Each problem draws x_1 from the prior and y = A x_1 + n; a method then draws several x_1' given each y. Per coordinate, in standard
deviations sd of the exact posterior with mean m,

- bias: the root mean square over observations of (E[x_1' | y] - m)/sd, 0 if the method is exact;
- spread: the mean of Var[x_1' | y]/sd², 1 if it is exact, below 1 where it collapses;
- coverage: the share of draws within the exact central 90% interval, by the exact distribution function;
- distance: the sliced Wasserstein-2 distance between the joint draws (x_1', y) and exact ones; that of two exact sets is the "exact" row.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python benchmarks/posterior.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from pathline.control import DPS, FlowDPS, Flower, Matrix, MomentMatching, Observation, PiGDM, Replacement, d_flow
from pathline.metrics import sliced_wasserstein2
from pathline.testing import oracles
from pathline.testing.oracles.observed import components

PATH = pl.AffinePath(pl.Linear())
DRAWS = 20
"""Draws for each observation."""


@dataclass(frozen=True)
class Problem:
    """A prior, what is seen of it, and the typical standard deviation of the data that methods are told."""

    name: str
    prior: Any
    a: Tensor
    std: float

    @property
    def scale(self) -> float:
        """The root mean square of the data's standard deviations."""
        means, covs, weights = components(self.prior)
        centred = means - weights @ means
        variance = torch.einsum("k,kii->i", weights, covs) + weights @ centred**2
        return float(variance.mean().sqrt())

    def posterior(self, y: Tensor) -> "Posteriors":
        """The exact posterior of every row of y (n, m)."""
        means, covs, weights = components(self.prior)
        s = self.a @ covs @ self.a.T + self.std**2 * torch.eye(len(self.a)).double()
        gain = torch.linalg.solve(s, self.a @ covs).mT  # (K, D, m)
        misfit = y[:, None] - means @ self.a.T  # (n, K, m)
        logs = torch.log(weights) + torch.distributions.MultivariateNormal(means @ self.a.T, s).log_prob(y[:, None])
        moved = means + torch.einsum("kdm,nkm->nkd", gain, misfit)
        return Posteriors(moved, covs - gain @ self.a @ covs, torch.softmax(logs, 1))


@dataclass(frozen=True)
class Posteriors:
    """Mixtures with means (n, K, D), covariances (K, D, D) and weights (n, K)."""

    means: Tensor
    covs: Tensor
    weights: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of every coordinate, (n, D)."""
        mean = torch.einsum("nk,nkd->nd", self.weights, self.means)
        second = torch.einsum("nk,nkd->nd", self.weights, self.means**2 + self.covs.diagonal(dim1=1, dim2=2))
        return mean, second - mean**2

    def levels(self, x: Tensor) -> Tensor:
        """The exact distribution function of every coordinate at x (n, D)."""
        spread = self.covs.diagonal(dim1=1, dim2=2).sqrt()
        return torch.einsum("nk,nkd->nd", self.weights, torch.special.ndtr((x[:, None] - self.means) / spread))

    def draw(self, generator: torch.Generator) -> Tensor:
        """One exact draw each, (n, D)."""
        chosen = torch.multinomial(self.weights, 1, generator=generator)[:, 0]
        z = torch.randn(self.means[:, 0].shape, generator=generator, dtype=torch.float64)
        roots = torch.linalg.cholesky(self.covs)[chosen]
        return self.means[torch.arange(len(z)), chosen] + torch.einsum("nij,nj->ni", roots, z)


def problems() -> list[Problem]:
    """From what every method should manage to what no Gaussian approximation can."""
    draws = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=draws, dtype=torch.float64)
    cov = root @ root.T / 8.0 + 0.1 * torch.eye(4).double()
    mean = torch.randn(4, generator=draws, dtype=torch.float64)
    two = torch.eye(4, dtype=torch.float64)[:2]
    isotropic = oracles.gaussian(mean, 0.36 * torch.eye(4).double(), PATH)
    correlated = oracles.gaussian(mean, cov, PATH)
    modes = torch.tensor([[1.5, 1.0], [-1.5, 1.0], [0.0, -1.5]], dtype=torch.float64)
    mixture = oracles.gaussian_mixture(modes, 0.35, None, PATH)
    height = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    return [
        Problem("isotropic Gaussian, 2 of 4 seen, noise 0.3", isotropic, two, 0.3),
        Problem("correlated Gaussian, 2 of 4 seen, noise 0.3", correlated, two, 0.3),
        Problem("correlated Gaussian, 2 of 4 seen, noise 0.05", correlated, two, 0.05),
        Problem("three Gaussians in the plane, height seen, noise 0.3", mixture, height, 0.3),
    ]


Method = Callable[["Problem", Observation], Tensor]


def start(problem: Problem, seen: Observation) -> Tensor:
    """Source points."""
    shape = (len(seen.y), *problem.prior.shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def guided(make: Callable[[Problem, Observation], Any], solver: Any = "heun", steps: int = 50) -> Method:
    """Posterior guidance under 50 Heun steps, 100 evaluations, unless told otherwise."""

    def draw(problem: Problem, seen: Observation) -> Tensor:
        options = {"guidance": make(problem, seen), "solver": solver, "steps": steps}
        return pl.sample(problem.prior, start(problem, seen), **options)

    return draw


def stepped(make: Callable[[Problem, Observation], Any]) -> Method:
    """A posterior solver, 100 steps of one evaluation."""

    def draw(problem: Problem, seen: Observation) -> Tensor:
        x_0 = torch.randn(
            len(seen.y), *problem.prior.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        return pl.sample(
            problem.prior, x_0, solver=make(problem, seen), steps=100, generator=torch.Generator().manual_seed(4)
        )

    return draw


def optimised(problem: Problem, seen: Observation) -> Tensor:
    """D-Flow: 100 iterations of Adam through 8 midpoint steps."""
    return d_flow(problem.prior, seen, start(problem, seen)).x


METHODS: dict[str, Method] = {
    "DPS, 1/std²": guided(lambda p, o: DPS(o)),
    "DPS, 1/std², dopri5": guided(lambda p, o: DPS(o), pl.solvers.dopri5(rtol=1e-4, atol=1e-4), 1),
    "DPS, rate 20": guided(lambda p, o: DPS(o, rate=20.0)),
    "PiGDM": guided(lambda p, o: PiGDM(o, data_std=p.scale)),
    "moment matching": guided(lambda p, o: MomentMatching(o)),
    "FlowDPS": stepped(lambda p, o: FlowDPS(o, data_std=p.scale)),
    "Flower": stepped(lambda p, o: Flower(o, data_std=p.scale)),
    "replacement": stepped(lambda p, o: Replacement(o)),
    "D-Flow": optimised,
}


def score(problem: Problem, y: Tensor, x: Tensor, exact: Tensor) -> dict[str, float]:
    """The four numbers of a method's draws x (n, D) for observations y, of which ``DRAWS`` successive ones are the same."""
    found = problem.posterior(y)
    mean, variance = found.moments()
    error = ((x - mean) / variance.sqrt()).reshape(-1, DRAWS, x.shape[1])
    within = error.var(1)
    # the mean of a few draws errs by itself: that share is taken off
    bias = (error.mean(1) ** 2 - within / DRAWS).mean()
    inside = (found.levels(x) - 0.5).abs() <= 0.45
    distance = sliced_wasserstein2(
        torch.cat([x, y], 1).float(), torch.cat([exact, y], 1).float(), generator=torch.Generator().manual_seed(0)
    )
    return {
        "bias": float(bias.clamp(min=0.0).sqrt()),
        "spread": float(within.mean()),
        "coverage": float(inside.double().mean()),
        "distance": float(distance),
    }


def cells(row: dict[str, float]) -> list[Any]:
    """The numbers of a row; nothing but "diverges" where there are none."""
    names = ("bias", "spread", "coverage", "distance")
    return [row[name] for name in names] if row["bias"] < 100.0 else ["diverges", None, None, None]


def main() -> None:
    """Run, and write ``results/posterior.md`` and ``.json``."""
    options = _bench.parser(__doc__).parse_args()
    _bench.setup(options.threads)
    n = DRAWS * (5 if options.quick else 150)
    begin, sections, data = time.perf_counter(), [], {}
    for problem in problems():
        draws = torch.Generator().manual_seed(1)
        x_1 = problem.prior.sample_data(n // DRAWS, draws).double()
        clean = x_1 @ problem.a.T
        y = clean + problem.std * torch.randn(clean.shape, generator=draws, dtype=torch.float64)
        y = y.repeat_interleave(DRAWS, 0)
        seen = Observation(Matrix(problem.a), y, problem.std)
        exact = problem.posterior(y).draw(draws)
        rows: dict[str, dict[str, float]] = {"exact": score(problem, y, problem.posterior(y).draw(draws), exact)}
        for name, method in METHODS.items():
            before = time.process_time()
            rows[name] = {**score(problem, y, method(problem, seen), exact), "seconds": time.process_time() - before}
            print(f"{problem.name:55} {name:18} " + " ".join(f"{k} {v:.3f}" for k, v in rows[name].items()), flush=True)
        data[problem.name] = rows
        columns = ["method", "bias (0)", "spread (1)", "coverage (0.90)", "distance", "CPU s"]
        table = [[k, *cells(v), v.get("seconds")] for k, v in rows.items()]
        sections.append((problem.name, _bench.table(columns, table)))
    about = (
        f"{n // DRAWS} observations a problem, {DRAWS} draws each; linear path; 100 evaluations (D-Flow: 1,600, with gradients; "
        "dopri5: as many as it takes). What the exact posterior would show stands in brackets, and what exact draws do show in the "
        "first row. Bias and spread count in standard deviations and variances of the exact posterior; the distance is sliced W2 between "
        "joint draws (x, y)."
    )
    sections.insert(0, ("", about))
    print(f"{time.perf_counter() - begin:.0f} s")
    if not options.quick:
        _bench.write("posterior", "Posterior methods against exact posteriors", sections, {"n": n, "problems": data})


if __name__ == "__main__":
    main()
