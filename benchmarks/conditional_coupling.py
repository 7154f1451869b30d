"""Couplings with conditions on 8 Gaussians → moons: plain batch transport breaks, conditional transport does not.

Protocol of C2OT (Cheng and Schwing, arXiv 2503.10636): 20,000 updates, coupled batches of 1,024 cut into four of 256, MLP 3 x 128,
Adam 3e-4, linear path; W2² between 10,000 samples and 10,000 fresh data points, each sample asked for with the condition
of a data point, after one Euler step and with adaptive steps (tolerance 1e-5). Conditions: none; the class (which moon);
the first coordinate of the data point, continuous. Data as there: 8 Gaussians of radius 5 and std 0.562; moons times 3 minus 1,
with one uniform shift in [0, 0.2) of both coordinates. Our network sees the condition through its first layer, in SiLU.

What the command line changes is said in the results. Cells are kept in results/.cache/conditional_coupling.json, so an
interrupted run goes on:

    OMP_NUM_THREADS=1 nice -n 15 python benchmarks/conditional_coupling.py --updates 20000 --points 10000 --seeds 3
"""

import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from pathline.data import toys

CACHE = _bench.RESULTS / ".cache" / "conditional_coupling.json"
BATCH, PARTS = 1024, 4
RATIO = 0.05
KINDS = ("none", "class", "x")

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor, Tensor | None]]


def points(n: int, g: torch.Generator, kind: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """(source, data, condition) of ``n`` independent pairs."""
    x_0 = toys.eight_gaussians(n, std=0.562, generator=g).x
    plain, moon = toys.moons(n, noise=0.0, generator=g)
    raw = 0.5 * (plain + torch.tensor([1.0, 0.0])) + 0.2 * torch.rand(n, 1, generator=g)
    x_1 = 3.0 * raw - 1.0
    return x_0, x_1, {"none": None, "class": moon, "x": x_1[:, :1]}[kind]


def coupling_of(method: str, kind: str) -> pl.couplings.Coupling | None:
    """The coupling of a cell; None for a cell that has no meaning of its own."""
    if method == "independent":
        return pl.couplings.independent()
    if method == "batch OT":
        return pl.couplings.exact_ot()
    return None if kind == "none" else pl.couplings.conditional_ot(RATIO)


def train(kind: str, coupling: pl.couplings.Coupling, updates: int, seed: int) -> pl.Field:
    """The trained field of a cell."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    sizes: dict[str, int] = {"class": {"num_classes": 2}, "x": {"condition_dim": 1}}.get(kind, {})  # pyright: ignore[reportAssignmentType]
    net = pl.nets.MLP(2, 128, 3, time_features=0, **sizes)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, label_dropout=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4, fused=True)
    for _ in range(updates // PARTS):
        x_0, x_1, y = points(BATCH, g, kind)
        x_0 = x_0[coupling(x_0, x_1, y, g)]
        for part in torch.arange(BATCH).chunk(PARTS):
            optimizer.zero_grad(set_to_none=True)
            objective(net, x_1[part], x_0=x_0[part], y=None if y is None else y[part], generator=g).backward()
            optimizer.step()
    return objective.field(net)


def measure(field: pl.Field, kind: str, n: int, seed: int) -> dict[str, float]:
    """W2² after one Euler step and with adaptive steps, and the evaluations of the latter."""
    x_0, x_1, y = points(n, torch.Generator().manual_seed(10_000 + seed), kind)
    cond = {} if y is None else {"y": y}
    one = pl.sample(field, x_0, solver="euler", steps=1, **cond)
    solution = pl.solve(field, x_0, solver="dopri5", record=False, **cond)
    return {
        "one": pl.metrics.wasserstein2(one, x_1) ** 2,
        "adaptive": pl.metrics.wasserstein2(solution.x, x_1) ** 2,
        "evaluations": solution.evaluations,
    }


def main() -> None:
    """Measure what is missing and write the results."""
    parser = _bench.parser(__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="conditions")
    options = parser.parse_args()
    _bench.setup(options.threads)
    updates, size, seeds = (80, 200, 1) if options.quick else (options.updates, options.points, options.seeds)
    done: dict[str, dict[str, float]] = json.loads(CACHE.read_text()) if CACHE.exists() and not options.quick else {}
    rows: list[list[_bench.Cell]] = []
    record: dict[str, Any] = {}
    for kind in options.kinds:
        for method in ("independent", "batch OT", "conditional OT"):
            coupling = coupling_of(method, kind)
            if coupling is None:
                continue
            cells = []
            for seed in range(seeds):
                key = f"{kind}/{method}/{updates}/{size}/{seed}"
                if key not in done:
                    done[key] = measure(train(kind, coupling, updates, seed), kind, size, seed)
                    print(key, done[key], flush=True)
                    if not options.quick:
                        CACHE.parent.mkdir(parents=True, exist_ok=True)
                        CACHE.write_text(json.dumps(done, indent=1))
                cells.append(done[key])
            record[f"{kind}/{method}"] = cells
            columns = [[cell[name] for cell in cells] for name in ("one", "adaptive", "evaluations")]
            rows.append([kind, method, *[spread(values) for values in columns]])
    told = (
        f"{(__doc__ or '').partition('Protocol')[1]}{(__doc__ or '').partition('Protocol')[2].partition('What the')[0]}".strip()
    ).replace("\n", " ")
    text = [
        told,
        f"In this run: {updates:,} updates, {size:,} points, {seeds} seed{'s' * (seeds != 1)}, ratio {RATIO} for the continuous "
        "condition; mean ± standard deviation over the seeds.",
        _bench.table(["condition", "pairs", "W2², one step", "W2², adaptive", "evaluations"], rows),
    ]
    if options.quick:
        print("\n\n".join(text))
        return
    _bench.write("conditional_coupling", "Couplings with conditions", [("", "\n\n".join(text))], {"cells": record})


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.2g}"


if __name__ == "__main__":
    main()
