"""Error against evaluations: ours untuned and tuned, and the peers, on exact fields and on a trained model.

RMS distance of the endpoints to a converged solve of the same noise. Peers get their best grid by hindsight (in 64
dimensions among the 12 pairs of a peer and a grid that are best on the first 256). Ours untuned is what `solvers.choose` finds on a pilot of its
own noise, and runs on the test noise. Ours tuned is `pl.tune`, fitted on other noise.

    python benchmarks/frontier.py --fields 8gaussians moons digits --budgets 4 8 16
    pathline train digits --prediction velocity --loss-in velocity --out runs/digits-velocity
    python benchmarks/frontier.py --run runs/digits-velocity  # adds the trained model
    python benchmarks/frontier.py --fields --run runs/digits-velocity --parts tuned --budgets 4 --method gauss_newton --iterations 24

The trained model predicts velocity. One that predicts data has no converged endpoints: its velocity is (x̂ − x)/(1 − t), under
which x goes on towards x̂(x, 1) for as long as a solver comes nearer to t = 1.

Rows and columns that a run does not measure are kept from the results of an earlier one; what is measured is written row by row.
"""

import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from _peers import Sampler, samplers
from pathline.field import BaseField
from pathline.solvers import NonStationary, choose
from pathline.solvers.frontier import endpoint, reference, rms
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
BUDGETS = (4, 5, 6, 8, 10, 16, 32, 64)
PARTS = ("peers", "untuned", "tuned")
TUNED_UP_TO = 8
SCREENED, KEPT = 256, 12
ORDER = ("8gaussians", "moons", "digits", "trained digits")


@dataclass(frozen=True)
class Subject:
    """A field, its test noise with converged endpoints, and how much of everything its cost allows."""

    field: BaseField
    shape: tuple[int, ...]
    test: int
    pilot: int
    tuning: int
    held_out: int
    laws: int
    iterations: int
    cond: dict[str, Any]
    dtype: torch.dtype = torch.float64
    fitted_in: torch.dtype = torch.float64
    tolerance: float = 1e-7
    """Of the endpoints that `tune` fits to."""
    method: str = "auto"
    """Of `tune`."""

    def noise(self, n: int, seed: int) -> Tensor:
        return torch.randn((n, *self.shape), generator=torch.Generator().manual_seed(seed), dtype=self.dtype)


def eight_gaussians() -> Subject:
    return Subject(oracles.eight_gaussians(LINEAR), (2,), 2048, 4096, 2048, 4096, 14, 70, {})


def moons() -> Subject:
    from sklearn.datasets import make_moons

    points, _ = make_moons(500, noise=0.05, random_state=0)
    points = torch.tensor((points - points.mean(0)) / points.std(0))
    return Subject(oracles.empirical(points, LINEAR, std=0.05), (2,), 2048, 2048, 1024, 1024, 14, 20, {})


def digits() -> Subject:
    data = pl.data.load("digits").x.flatten(1).double()
    data = (data - data.mean()) / data.std()
    field = oracles.empirical(data, LINEAR, std=0.1)
    return Subject(field, (64,), 2048, 1024, 1536, 2048, 14, 16, {}, fitted_in=torch.float32, tolerance=1e-4)


def trained(path: str) -> Subject:
    from pathline.train import Run

    run = Run.open(path)
    labels = {"y": torch.arange(512) % 10}
    return Subject(run.field, run.shape, 512, 256, 256, 256, 14, 16, labels, torch.float32, torch.float32, 1e-3)


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
    """(RMS error, name, median error) of the peers with their best grids, the best first.

    On many noises all run on the first `SCREENED`, and the `KEPT` best pairs of a peer and a grid on all.
    """

    def off(make: Callable[[], Sampler], grid: Tensor, rows: slice) -> Tensor:
        given = {key: value[rows] for key, value in cond.items()}

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return subject.field.evaluate(x, torch.as_tensor(t, dtype=torch.float64).clamp(0.0, 1.0), **given).velocity

        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            return make()(velocity, x_0[rows], grid.to(x_0)) - truth[rows]

    pairs = [
        (name, make, law.grid(budget // cost))
        for name, (make, cost) in samplers().items() if budget >= cost for law in laws(subject.laws)
    ]  # fmt: skip
    if len(x_0) * x_0[0].numel() > 2**14:
        errors = [rms(off(make, grid, slice(SCREENED))) for _, make, grid in pairs]
        order = sorted((error, i) for i, error in enumerate(errors) if math.isfinite(error))
        pairs = [pairs[i] for _, i in order[:KEPT]]
    found: dict[str, tuple[float, str, float]] = {}
    for name, make, grid in pairs:
        wrong = off(make, grid, slice(None))
        if bool(wrong.isfinite().all()):
            found[name] = min(found.get(name, (math.inf, "", 0.0)), (rms(wrong), name, median(wrong)))
    return sorted(found.values())


def median(off: Tensor) -> float:
    """Median over the particles of the RMS over a particle's entries."""
    return float(off.flatten(1).square().mean(1).sqrt().median())


def converged(field: BaseField, x_0: Tensor, cond: dict[str, Any]) -> Tensor:
    """Endpoints from a solve in float64, that of a network too."""
    if x_0.dtype == torch.float64:
        return reference(field, x_0, cond, tolerance=1e-7)[0]
    assert isinstance(field, pl.Field)
    exact = pl.Field(copy.deepcopy(field.net).double(), field.path, field.prediction)
    return reference(exact, x_0.double(), cond, tolerance=1e-5)[0].to(x_0)


def pairs_of(name: str, subject: Subject, cache: Path | None) -> tuple[Tensor, Tensor]:
    """The test noise and its converged endpoints, from ``cache`` where an earlier run has left them."""
    x_0 = subject.noise(subject.test, 0)
    file = None if cache is None else cache / f"{name.replace(' ', '-')}-{subject.test}.pt"
    if file is not None and file.exists():
        return x_0, torch.load(file)
    truth = converged(subject.field, x_0, subject.cond)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(truth.clone(), file)
    return x_0, truth


def first_rows(cond: dict[str, Any], count: int) -> dict[str, Any]:
    """Conditions of other noises: labels in turn."""
    return {key: torch.arange(count) % 10 for key in cond}


def measure(subject: Subject, budget: int, parts: Sequence[str], x_0: Tensor, truth: Tensor) -> dict[str, Any]:
    """What was asked for of one row."""
    began, row, medians = time.perf_counter(), {}, {}
    if "peers" in parts:
        peers = best_peer(subject, budget, x_0, truth, subject.cond)
        row |= {"peer": peers[0][1], "peer_error": peers[0][0], "peers": peers, "grids": subject.laws}
        medians["peer"] = peers[0][2]
    if "untuned" in parts:
        pilot = subject.noise(subject.pilot, 7).float()
        with torch.inference_mode():
            chosen = choose(subject.field, budget, pilot, **first_rows(subject.cond, subject.pilot))
            off = endpoint(subject.field, x_0, chosen.solver, chosen.grid, subject.cond) - truth
        row |= {"solver": chosen.name, "grid": chosen.grid.tolist(), "untuned": rms(off), "expected": chosen.error}
        medians["untuned"] = median(off)
    if "tuned" in parts and budget <= TUNED_UP_TO:
        fitted = tuned(subject, budget)
        with torch.inference_mode():
            off = endpoint(subject.field, x_0, fitted, fitted.own_grid(subject.field.path), subject.cond) - truth
        row |= {"tuned": rms(off), "tuned by": f"{fitted.info['method']}, {subject.iterations} iterations"}
        medians["tuned"] = median(off)
    return {**row, "medians": medians, "seconds": round(time.perf_counter() - began)}


def tuned(subject: Subject, budget: int) -> NonStationary:
    """The fitted solver."""
    count = subject.tuning + subject.held_out
    return pl.tune(
        subject.field, budget, x_0=subject.noise(count, 3).to(subject.fitted_in), samples=subject.tuning, iterations=subject.iterations,
        method=subject.method, tolerance=subject.tolerance, **first_rows(subject.cond, count),
    )  # fmt: skip


def merged(rows: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """``rows`` with a row added; what it does not measure is kept of an earlier one about as many noises."""

    def same(row: dict[str, Any]) -> bool:
        return (row["field"], row["evaluations"]) == (new["field"], new["evaluations"])

    old = next((row for row in rows if same(row) and row.get("noises") == new["noises"]), {})
    new = {**old, **new, "medians": {**old.get("medians", {}), **new["medians"]}}
    return sorted([*(r for r in rows if not same(r)), new], key=lambda r: (ORDER.index(r["field"]), r["evaluations"]))


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """The results as they stand."""
    columns = [
        "evaluations", "noises", "best peer", "of grids", "its error", "ours, untuned", "its error", "ours / peer", "tuned", "tuned / peer",
        "medians: peer, untuned, tuned",
    ]  # fmt: skip

    def cells(row: dict[str, Any]) -> list[_bench.Cell]:
        peer, untuned, tuned = (row.get(key) for key in ("peer_error", "untuned", "tuned"))
        return [
            str(row["evaluations"]), row.get("noises", ""), row.get("peer"), row.get("grids"), peer,
            row.get("solver"), untuned,
            untuned / peer if untuned and peer else None, tuned, tuned / peer if tuned and peer else None,
            ", ".join(f"{row['medians'][key]:.2g}" for key in ("peer", "untuned", "tuned") if key in row["medians"]),
        ]  # fmt: skip

    sections = [
        (field, _bench.table(columns, [cells(row) for row in rows if row["field"] == field]))
        for field in dict.fromkeys(row["field"] for row in rows)
    ]
    about = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    _bench.write(name, "Error against evaluations", [("", about), *sections], {"rows": rows})


def main() -> None:
    options = _bench.parser(__doc__)
    options.add_argument("--fields", nargs="*", default=["8gaussians", "moons", "digits"])
    options.add_argument("--run", help="a trained run to add, such as runs/digits")
    options.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="columns to measure")
    options.add_argument("--method", help="of tune, instead of the field's own: gauss_newton or adam")
    options.add_argument("--iterations", type=int, help="of tune, instead of the field's own")
    options.add_argument("--cache", type=Path, help="folder that keeps converged endpoints between runs")
    options.add_argument("--name", default="frontier")
    given = options.parse_args()
    _bench.setup(given.threads)
    makers = {"8gaussians": eight_gaussians, "moons": moons, "digits": digits}
    subjects = {name: makers[name]() for name in given.fields}
    if given.run:
        subjects["trained digits"] = trained(given.run)
    subjects = {
        name: replace(each, method=given.method or each.method, iterations=given.iterations or each.iterations)
        for name, each in subjects.items()
    }
    path = _bench.RESULTS / f"{given.name}.json"
    for name, subject in subjects.items():
        with torch.inference_mode():
            x_0, truth = pairs_of(name, subject, given.cache)
        for budget in (4, 16) if given.quick else given.budgets:
            row = measure(subject, budget, given.parts, x_0, truth)
            print({key: value for key, value in row.items() if key != "peers"}, flush=True)
            if not given.quick:
                rows = json.loads(path.read_text())["rows"] if path.exists() else []
                write(given.name, merged(rows, {"field": name, "noises": subject.test, "evaluations": budget, **row}))


if __name__ == "__main__":
    main()
