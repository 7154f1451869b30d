"""Error against evaluations: ours untuned and tuned, and the peers, on exact fields and on a trained model.

RMS distance of the endpoints to a converged solve of the same noise. Peers get their best grid by hindsight, of 14, of 10 on moons, of 3 on
digits. Ours
untuned follows a rule that a user can follow: each solver of a short list gets the grid that `grids.fit` finds on a
pilot of its own noise, and the pair that is best on that pilot runs on the test noise. Ours tuned is `pl.tune`,
fitted on other noise.

    python benchmarks/frontier.py --fields 8gaussians moons digits --budgets 4 8 16
    python benchmarks/frontier.py --run runs/digits          # adds the trained model

Rows that a run does not measure are kept from the results of an earlier one.
"""

import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from _peers import samplers
from pathline.field import BaseField
from pathline.solvers import grids
from pathline.solvers.frontier import endpoint, reference, rms
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
BUDGETS = (4, 5, 6, 8, 10, 16, 32, 64)
TUNED_UP_TO = 8
ORDER = ("8gaussians", "moons", "digits", "trained digits")
SHORTLIST = ("abm1", "abm2", "abm3", "abm4", "ab2", "ab3", "unipc3", "ralston3", "rk4")


@dataclass(frozen=True)
class Subject:
    """A field, its test noise with converged endpoints, and how much of everything its cost allows."""

    field: BaseField
    shape: tuple[int, ...]
    test: int
    pilot: int
    tuning: int
    laws: int
    iterations: int
    cond: dict[str, Any]
    dtype: torch.dtype = torch.float64

    def noise(self, n: int, seed: int) -> Tensor:
        return torch.randn((n, *self.shape), generator=torch.Generator().manual_seed(seed), dtype=self.dtype)


def eight_gaussians() -> Subject:
    return Subject(oracles.eight_gaussians(LINEAR), (2,), 2048, 512, 2048, 14, 35, {})


def moons() -> Subject:
    from sklearn.datasets import make_moons

    points, _ = make_moons(500, noise=0.05, random_state=0)
    points = torch.tensor((points - points.mean(0)) / points.std(0))
    return Subject(oracles.empirical(points, LINEAR, std=0.05), (2,), 2048, 1024, 1024, 10, 20, {})


def digits() -> Subject:
    data = pl.data.load("digits").x.flatten(1).double()
    data = (data - data.mean()) / data.std()
    field = oracles.empirical(data, LINEAR, std=0.1)
    return Subject(field, (64,), 2048, 128, 384, 3, 20, {})


def trained(path: str) -> Subject:
    from pathline.train import Run

    run = Run.open(path)
    return Subject(run.field, run.shape, 192, 48, 128, 3, 200, {"y": torch.arange(192) % 10}, torch.float32)


def laws(count: int) -> list[pl.TimeLaw]:
    """The grids that peers choose from: shifts, both ends dense, log-SNR, Karras, powers."""
    linear, times = pl.Linear(), pl.times
    found = [
        times.uniform(),
        times.shifted(0.5),
        times.cosine(),
        times.log_snr_uniform(linear, -4.0, 4.0),
        times.shifted(0.33),
        times.shifted(2.0),
        times.shifted(3.0),
        times.log_snr_uniform(linear, -3.0, 3.0),
        times.log_snr_uniform(linear, -5.0, 5.0),
        times.log_snr_uniform(linear, -3.0, 5.0),
        times.karras(linear, sigma_min=0.02, sigma_max=80.0),
        times.karras(linear, sigma_min=0.01, sigma_max=20.0, rho=3.0),
        pl.TimeLaw(lambda u: u**1.4, "power(1.4)"),
        pl.TimeLaw(lambda u: 1.0 - (1.0 - u) ** 1.4, "power from the data end(1.4)"),
    ]
    return found[:count]


def best_peer(
    subject: Subject, budget: int, x_0: Tensor, truth: Tensor, cond: dict[str, Any]
) -> list[tuple[float, str, float]]:
    """(RMS error, name, median error) of every peer with its best grid, the best first."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return subject.field.evaluate(x, torch.as_tensor(t, dtype=torch.float64).clamp(0.0, 1.0), **cond).velocity

    found = []
    for name, (make, cost) in samplers().items():
        steps = budget // cost
        if steps < 1:
            continue
        errors = []
        for law in laws(subject.laws):
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                off = make()(velocity, x_0, law.grid(steps).to(x_0)) - truth
                errors.append((rms(off), median(off)))
        finite = [error for error in errors if math.isfinite(error[0])]
        if finite:
            found.append((min(finite)[0], name, min(finite)[1]))
    return sorted(found)


Pairs = tuple[Tensor, Tensor]
"""Noise and its converged endpoints."""


def median(off: Tensor) -> float:
    """Median over the particles of the RMS over a particle's entries."""
    return float(off.flatten(1).square().mean(1).sqrt().median())


def untuned(subject: Subject, budget: int, pairs: Pairs) -> tuple[str, Callable[[Tensor, dict[str, Any]], Tensor]]:
    """The rule: on pilot noise, fit a grid for each solver of the short list and keep the best pair."""
    pilot, truth = pairs
    cond: dict[str, Any] = {name: value[: subject.pilot] for name, value in subject.cond.items()}
    best: tuple[float, str, Tensor] | None = None
    for name in SHORTLIST:
        solver = pl.SOLVERS[name]
        steps = budget // solver.evaluations(1)
        if steps < 2:
            continue
        grid = grids.fit(subject.field, steps, pilot, solver=name, **cond)
        error = rms(endpoint(subject.field, pilot, solver, grid, cond) - truth)
        if math.isfinite(error) and (best is None or error < best[0]):
            best = error, name, grid
    if best is None:
        raise RuntimeError(f"nothing runs in {budget} evaluations")
    _, name, grid = best
    return name, lambda x, given: endpoint(subject.field, x, pl.SOLVERS[name], grid, given)


def converged(field: BaseField, x_0: Tensor, cond: dict[str, Any]) -> Tensor:
    return reference(field, x_0, cond, tolerance=1e-7 if x_0.dtype == torch.float64 else 1e-4)[0]


def measure(name: str, subject: Subject, budgets: tuple[int, ...]) -> list[dict[str, Any]]:
    with torch.inference_mode():
        x_0 = subject.noise(subject.test, 0)
        truth = converged(subject.field, x_0, subject.cond)
        pilot = subject.noise(subject.pilot, 7)
        pilot_pairs = pilot, converged(subject.field, pilot, {k: v[: subject.pilot] for k, v in subject.cond.items()})
        pilot_pairs = pilot_pairs[0].float(), pilot_pairs[1].float()  # a pilot of half the cost
        tuning_pairs = None
        cond: dict[str, Any] = {key: torch.arange(subject.tuning + 256) % 10 for key in subject.cond}
        if any(budget <= TUNED_UP_TO for budget in budgets):
            noise = subject.noise(subject.tuning + 256, 3)
            tuning_pairs = noise, converged(subject.field, noise, cond)
    rows = []
    for budget in budgets:
        began = time.perf_counter()
        peers = best_peer(subject, budget, x_0, truth, subject.cond)
        with torch.inference_mode():
            solver, solve = untuned(subject, budget, pilot_pairs)
            off = solve(x_0, subject.cond) - truth
            ours, medians = rms(off), [peers[0][2], median(off)]
        tuned = None
        if budget <= TUNED_UP_TO and tuning_pairs is not None:
            fitted = pl.tune(
                subject.field, budget, target=(tuning_pairs[0].clone(), tuning_pairs[1].clone()), samples=subject.tuning,
                iterations=subject.iterations, method="auto" if subject.dtype == torch.float64 else "adam", **cond,
            )  # fmt: skip
            with torch.inference_mode():
                ends = endpoint(subject.field, x_0, fitted, fitted.own_grid(subject.field.path), subject.cond)
            tuned = rms(ends - truth)
            medians.append(median(ends - truth))
        rows.append(
            {"field": name, "noises": subject.test, "evaluations": budget, "peer": peers[0][1], "peer_error": peers[0][0], "solver": solver,
             "untuned": ours, "tuned": tuned, "medians": medians, "peers": peers, "seconds": round(time.perf_counter() - began)}
        )  # fmt: skip
        print({key: value for key, value in rows[-1].items() if key != "peers"}, flush=True)
    return rows


def kept_rows(name: str, measured: set[tuple[str, int]]) -> list[dict[str, Any]]:
    """Rows of an earlier run about fields and budgets that this one did not measure."""
    path = _bench.RESULTS / f"{name}.json"
    if not path.exists():
        return []
    return [row for row in json.loads(path.read_text())["rows"] if (row["field"], row["evaluations"]) not in measured]


def main() -> None:
    options = _bench.parser(__doc__)
    options.add_argument("--fields", nargs="*", default=["8gaussians", "moons", "digits"])
    options.add_argument("--run", help="a trained run to add, such as runs/digits")
    options.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    options.add_argument("--name", default="frontier")
    given = options.parse_args()
    _bench.setup(given.threads)
    makers = {"8gaussians": eight_gaussians, "moons": moons, "digits": digits}
    subjects = {name: makers[name]() for name in given.fields}
    if given.run:
        subjects["trained digits"] = trained(given.run)
    budgets = (4, 16) if given.quick else tuple(given.budgets)
    rows = [row for name, subject in subjects.items() for row in measure(name, subject, budgets)]
    if given.quick:
        return
    columns = [
        "evaluations",
        "noises",
        "best peer",
        "its error",
        "ours, untuned",
        "its error",
        "ours / peer",
        "tuned",
        "tuned / peer",
        "medians: peer, untuned, tuned",
    ]
    kept = kept_rows(given.name, {(row["field"], row["evaluations"]) for row in rows})
    rows = sorted([*rows, *kept], key=lambda row: (ORDER.index(row["field"]), row["evaluations"]))
    sections = []
    for name in dict.fromkeys(row["field"] for row in rows):
        cells = [
            [
                str(row["evaluations"]), row.get("noises", ""), row["peer"], row["peer_error"], row["solver"], row["untuned"],
                row["untuned"] / row["peer_error"], row["tuned"],
                None if row["tuned"] is None else row["tuned"] / row["peer_error"],
                ", ".join(f"{value:.2g}" for value in row.get("medians", [])),
            ]
            for row in rows if row["field"] == name
        ]  # fmt: skip
        sections.append((name, _bench.table(columns, cells)))
    about = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    _bench.write(given.name, "Error against evaluations", [("", about), *sections], {"rows": rows})


if __name__ == "__main__":
    main()
