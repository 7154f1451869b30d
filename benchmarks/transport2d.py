"""The published 2-D transport protocol: W2 and normalised path energy of CFM, OT-CFM, [SF]2M and reflow.

Protocol of Tong et al., [SF]2M (AISTATS 2024), table 2: 10,000 points to train on and 10,000 to test, MLP 3 x 64 SELU on
(x, t), AdamW 1e-3 with weight decay 1e-5, batch 512, 20,000 updates, 100 Euler steps; W2 not squared, exact, between 10,000
generated and 10,000 real points; NPE = |PE - W2²|/W2², PE the mean over samples of the integral of |v|² along the Euler
paths. W2² of NPE is that of the 10,000 training pairs of the seed.

What differs from it, in all our rows: the average of the weights (EMA 0.999) under a cosine learning rate instead of the
best of many checkpoints; sigma_min = 0; both sides divided by one number. OT pairs come from one exact assignment of
the whole training set instead of one per batch.

Cells are cached in results/.cache/transport2d.json, so an interrupted run goes on:

    OMP_NUM_THREADS=1 nice -n 15 python benchmarks/transport2d.py --methods ot cfm sb reflow --seeds 5
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from pathline.data import toys
from pathline.metrics.wasserstein import wasserstein2
from pathline.objectives import BridgeMatching
from pathline.paths import schrodinger_bridge, two_heads
from pathline.train import EMA

CACHE = _bench.RESULTS / ".cache" / "transport2d.json"
N, BATCH, STEPS, SEED = 10_000, 512, 100, 42

PUBLISHED: dict[str, dict[str, tuple[str, str]]] = {  # [SF]2M, table 2: W2, NPE
    "N->8gaussians": {"ot": (".303 ± .043", ".031 ± .027"), "cfm": (".373 ± .103", ".202 ± .055"),
                      "sb": (".275 ± .058", ".016 ± .012"), "reflow": (".421 ± .071", ".044 ± .031")},
    "moons->8gaussians": {"ot": (".601 ± .027", ".015 ± .010"), "cfm": ("1.557 ± .407", "2.680 ± .292"),
                          "sb": (".726 ± .137", ".045 ± .031"), "reflow": ("1.525 ± .330", ".203 ± .090")},
    "N->moons": {"ot": (".130 ± .016", ".083 ± .009"), "cfm": (".178 ± .014", ".891 ± .120"),
                 "sb": (".124 ± .023", ".053 ± .038"), "reflow": (".283 ± .045", ".130 ± .078")},
    "N->scurve": {"ot": (".144 ± .028", ".027 ± .012"), "cfm": (".242 ± .141", ".856 ± .031"),
                  "sb": (".128 ± .005", ".034 ± .024"), "reflow": (".345 ± .079", ".099 ± .066")},
}  # fmt: skip
NAMES = {
    "ot": "OT-CFM (theirs: per batch; ours: whole set)",
    "cfm": "I-CFM",
    "sb": "[SF]2M exact pairs, s = 1",
    "reflow": "1 reflow of I-CFM",
}


def twodim_moons(n: int, generator: torch.Generator) -> Tensor:
    """Moons with noise 0.1, standardised, times 7."""
    x = toys.moons(n, noise=0.1, generator=generator).x
    return 7.0 * (x - x.mean(0)) / x.std(0, correction=0)


def gaussian(n: int, generator: torch.Generator) -> Tensor:
    """The standard normal source."""
    return torch.randn(n, 2, generator=generator)


Draw = Callable[[int, torch.Generator], Tensor]
CELLS: dict[str, tuple[Draw, Draw]] = {
    "N->8gaussians": (gaussian, lambda n, g: toys.eight_gaussians(n, generator=g).x),
    "moons->8gaussians": (
        twodim_moons, lambda n, g: toys.eight_gaussians(n, radius=12.0, std=1.5, generator=g).x),
    "N->moons": (gaussian, lambda n, g: toys.moons(n, generator=g).x),
    "N->scurve": (gaussian, lambda n, g: toys.s_curve(n, generator=g).x),
}  # fmt: skip


@dataclass
class Problem:
    """One cell and seed: both sides in a common scale, in an order in which row i of one side is paired with row i."""

    x_0: Tensor
    x_1: Tensor
    test_0: Tensor
    test_1: Tensor
    scale: float
    optimal: Tensor
    """The rows of x_0 that the exact assignment gives to the rows of x_1."""
    cost: float
    """W2² of the training sets, in the units of the data."""


def problem(cell: str, seed: int) -> Problem:
    """Draw the sets and assign the training pairs."""
    import numpy
    import ot

    source, data = CELLS[cell]
    g = torch.Generator().manual_seed(1000 * seed + list(CELLS).index(cell))
    x_0, x_1, test_0, test_1 = source(N, g), data(N, g), source(N, g), data(N, g)
    scale = float((x_0.square().mean() * x_1.square().mean()) ** 0.25)
    kept = CACHE.parent / f"pairs-{list(CELLS).index(cell)}-{seed}.npy"
    if kept.exists():
        optimal = torch.from_numpy(numpy.load(kept))
    else:
        squared = torch.cdist(x_1.double(), x_0.double()).square().numpy()
        uniform = numpy.full(N, 1.0 / N)
        rows, columns = ot.emd(uniform, uniform, squared, numItermax=100_000_000).nonzero()
        if len(rows) != N or len(set(columns.tolist())) != N:
            raise RuntimeError(f"the plan is no permutation: {len(rows)} entries")
        kept.parent.mkdir(parents=True, exist_ok=True)
        numpy.save(kept, columns)
        optimal = torch.from_numpy(columns)
    cost = float((x_1 - x_0[optimal]).double().square().sum(1).mean())
    return Problem(x_0 / scale, x_1 / scale, test_0 / scale, test_1 / scale, scale, optimal, cost)


def train(net: torch.nn.Module, objective: Any, x_0: Tensor, x_1: Tensor, updates: int, seed: int) -> torch.nn.Module:
    """The averaged weights after ``updates`` steps on rows of (x_0, x_1) that are drawn together; x_0 () shuffles apart."""
    g = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    ema = EMA(net, 0.999)
    for step in range(updates):
        rows = torch.randint(N, (2 if objective.apart else 1, BATCH), generator=g)
        optimizer.param_groups[0]["lr"] = 0.5e-3 * (1.0 + math.cos(math.pi * step / updates))
        optimizer.zero_grad(set_to_none=True)
        objective.loss(net, x_1[rows[0]], x_0=x_0[rows[-1]], generator=g).backward()
        optimizer.step()
        ema.update(step + 1)
    return ema.net


@dataclass(frozen=True)
class Plan:
    """An objective, and whether source and data are drawn apart."""

    loss: Any
    apart: bool


def network() -> torch.nn.Module:
    """The published network."""
    return pl.nets.MLP(2, 64, 3, activation="selu", time_features=0)


def solve(method: str, p: Problem, updates: int, seed: int) -> tuple[pl.Field, dict[str, float]]:
    """The trained field of a method, and seconds of training."""
    torch.manual_seed(seed)
    flow = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    begin = time.process_time()
    if method == "sb":
        bridge = BridgeMatching(schrodinger_bridge(1.0 / p.scale), two_heads())
        net = train(pl.nets.TwoHeads(network(), network()), Plan(bridge, False), p.x_0[p.optimal], p.x_1, updates, seed)
        return pl.Field(net, bridge.path, bridge.prediction), {"train": time.process_time() - begin}
    paired = method == "ot"
    net = train(network(), Plan(flow, not paired), p.x_0[p.optimal] if paired else p.x_0, p.x_1, updates, seed)
    if method == "reflow":
        x_1 = pl.sample(pl.Field(net, flow.path, pl.VELOCITY), p.x_0, solver="euler", steps=STEPS)
        again = copy.deepcopy(net).requires_grad_(True)
        net = train(again, Plan(flow, False), p.x_0, x_1, updates, seed + 1)
    return pl.Field(net, flow.path, pl.VELOCITY), {"train": time.process_time() - begin}


def measure(field: pl.Field, p: Problem) -> dict[str, float]:
    """W2 of 100 Euler steps from the test source, path energy and NPE, in the units of the data."""
    solution = pl.solve(field, p.test_0, solver="euler", steps=STEPS)
    assert solution.trajectory is not None
    moves = solution.trajectory.diff(dim=0).double()  # h v
    energy = float(moves.square().sum(-1).mean(1).sum()) * STEPS * p.scale**2
    begin = time.process_time()
    distance = p.scale * wasserstein2(solution.x, p.test_1, solver="network_simplex")
    return {"w2": distance, "energy": energy, "npe": abs(energy - p.cost) / p.cost, "w2_s": time.process_time() - begin}


def load() -> dict[str, Any]:
    """What is done already."""
    return json.loads(CACHE.read_text()) if CACHE.exists() else {}


def keep(done: dict[str, Any]) -> None:
    """Write the cache, whole or not at all."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    draft = CACHE.with_suffix(".writing")
    draft.write_text(json.dumps(done, indent=1))
    os.replace(draft, CACHE)


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over the seeds, if there are several."""
    t = torch.tensor(values, dtype=torch.float64)
    return f"{t.mean():.3f} ± {t.std():.3f}" if len(t) > 1 else f"{t.mean():.3f}"


def sections(done: dict[str, Any], updates: int) -> list[tuple[str, str]]:
    """Tables of W2 and NPE beside the published ones."""
    found = []
    for place, (key, title) in enumerate((("w2", "W2, not squared"), ("npe", "Normalised path energy"))):
        rows = []
        for cell, theirs in PUBLISHED.items():
            for method, name in NAMES.items():
                values = [v[key] for k, v in done.items() if k.startswith(f"{cell}/{method}/{updates}/")]
                if values:
                    rows.append([cell, name, spread(values), theirs[method][place], len(values)])
        found.append((title, _bench.table(["cell", "method", "ours", "published", "seeds"], rows)))
    return found


def main() -> None:
    """Run what is not cached yet, seed by seed, and write the tables."""
    options = _bench.parser(__doc__)
    options.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    options.add_argument("--methods", nargs="+", default=list(NAMES), choices=list(NAMES))
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--updates", type=int, default=20_000)
    options.add_argument("--tables", action="store_true", help="only write the tables of what is cached")
    args = options.parse_args()
    _bench.setup(args.threads)
    done, updates = load(), 20 if args.quick else args.updates
    cells, seeds = (args.cells[:1], 1) if args.quick else (args.cells, args.seeds)
    for seed in range(SEED, SEED + (0 if args.tables else seeds)):
        for cell in cells:
            wanted = [m for m in args.methods if f"{cell}/{m}/{updates}/{seed}" not in done]
            p = problem(cell, seed) if wanted else None
            for method in wanted:
                assert p is not None
                field, cost = solve(method, p, updates, seed)
                done[f"{cell}/{method}/{updates}/{seed}"] = found = {**measure(field, p), **cost, "optimum": p.cost}
                print(time.strftime("%H:%M:%S"), cell, method, seed, json.dumps(found), flush=True)
                if not args.quick:
                    keep(done)
    if args.quick:
        return
    note = (__doc__ or "").split("\n\n", 2)[1:]
    intro = "\n\n".join(note).split("\n\nCells are cached")[0]
    _bench.write(
        "transport2d", "Transport in the plane", [("Protocol", intro), *sections(done, updates)], {"cells": done}
    )


if __name__ == "__main__":
    main()
