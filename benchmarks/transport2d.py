"""The published 2-D transport protocol: W2 and normalised path energy of CFM, OT-CFM, [SF]2M and reflow.

Protocol of Tong et al., [SF]2M (AISTATS 2024), table 2: 10,000 points to train on and 10,000 to test, parts of a random split
of 30,000 (so that, as theirs, they differ in how many points each mode has), MLP 3 x 64 SELU on (x, t), AdamW 1e-3 with
weight decay 1e-5, batch 512, 20,000 updates, 100 Euler steps; W2 not squared, exact, between 10,000 generated and 10,000
real points; NPE = |PE - W2²|/W2², PE the mean over samples of the integral of |v|² along the Euler paths. W2² of NPE is that
of the 10,000 training pairs of the seed.

What differs from it, in all our rows: the average of the weights (EMA 0.999) under a cosine learning rate instead of the
best of many checkpoints; sigma_min = 0; both sides divided by one number. OT pairs come from one exact assignment of
the whole training set instead of one per batch. The seeds of a cell are trained side by side, in one product a layer.

Cells are cached in results/.cache/transport2d.json, so an interrupted run goes on:

    OMP_NUM_THREADS=1 nice -n 15 python benchmarks/transport2d.py --methods ot cfm sb reflow --seeds 5
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import _bench
import pathline as pl
from pathline.data import toys
from pathline.field import BaseField
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
    "sb-small": "[SF]2M exact pairs, s = 0.1",
    "reflow": "1 reflow of I-CFM",
}
BRIDGES = {"sb": 1.0, "sb-small": 0.1}
"""The noise s of a bridge, in units of the data. That of the published row is not told: it stands beside both."""


def twodim_moons(n: int, generator: torch.Generator) -> Tensor:
    """Moons with noise 0.1, both coordinates less one mean and over one standard deviation, times 7."""
    x = toys.moons(n, noise=0.1, generator=generator).x
    return 7.0 * (x - x.mean()) / x.std()


def twodim_gaussians(n: int, generator: torch.Generator) -> Tensor:
    """8 Gaussians of radius 12 and std 1.5; how many points each has is left to chance, as in the published sets."""
    angle = 0.25 * math.pi * torch.randint(8, (n,), generator=generator)
    centre = 12.0 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + 1.5 * torch.randn(n, 2, generator=generator)


def gaussian(n: int, generator: torch.Generator) -> Tensor:
    """The standard normal source."""
    return torch.randn(n, 2, generator=generator)


Draw = Callable[[int, torch.Generator], Tensor]
Loss = Callable[..., Tensor]
CELLS: dict[str, tuple[Draw, Draw]] = {
    "N->8gaussians": (gaussian, lambda n, g: toys.eight_gaussians(n, generator=g).x),
    "moons->8gaussians": (twodim_moons, twodim_gaussians),
    "N->moons": (gaussian, lambda n, g: toys.moons(n, generator=g).x),
    "N->scurve": (gaussian, lambda n, g: toys.s_curve(n, generator=g).x),
}  # fmt: skip


@dataclass
class Problem:
    """One cell and seed: sets to train on and to test with, in the units of the data."""

    x_0: Tensor
    x_1: Tensor
    test_0: Tensor
    test_1: Tensor
    optimal: Tensor
    """The rows of x_0 that the exact assignment gives to the rows of x_1."""
    cost: float
    """W2² of the training sets."""


def split(draw: Draw, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Three sets of N points, a random split of one draw: how many points a part of the data has in each is left to chance."""
    return draw(3 * N, generator)[torch.randperm(3 * N, generator=generator)].split(N)


def problem(cell: str, seed: int) -> Problem:
    """Draw the sets and assign the training pairs."""
    g = torch.Generator().manual_seed(1000 * seed + list(CELLS).index(cell))
    (x_0, _, test_0), (x_1, _, test_1) = (split(draw, g) for draw in CELLS[cell])
    optimal = pl.couplings.exact_ot()(x_0, x_1)
    return Problem(x_0, x_1, test_0, test_1, optimal, float((x_1 - x_0[optimal]).double().square().sum(1).mean()))


class Abreast(nn.Module):
    """The published network once for each seed, in one product a layer: states (seeds · B, 2) lie seed by seed.

    The seeds share nothing but the call: each has the first weights, the batches and so the training that it would have alone.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        nets = []
        for seed in seeds:
            torch.manual_seed(seed)
            net = pl.nets.MLP(2, 64, 3, activation="selu", time_features=0)
            layers = [m for m in net.rest if isinstance(m, nn.Linear)]
            first = torch.cat([net.state.weight, net.time.weight], 1)  # of (x, t)
            nets.append([(first, net.state.bias), *((m.weight, m.bias) for m in layers)])
        self.weights, self.biases = (
            nn.ParameterList(torch.stack([net[i][j].detach() for net in nets]) for i in range(len(nets[0])))
            for j in (0, 1)
        )

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        seeds = len(self.weights[0])
        hidden = torch.cat([x_t, t.expand(len(x_t))[:, None]], 1).reshape(seeds, -1, 3)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias[:, None], F.selu(hidden) if i else hidden, weight.mT)
        return hidden.reshape(x_t.shape)


def train(net: nn.Module, loss: Loss, x_0: Tensor, x_1: Tensor, updates: int, *, apart: bool, seed: int) -> nn.Module:
    """The averaged weights after ``updates`` steps on rows of x_0 and x_1 (seeds, N, 2), drawn together or apart."""
    g = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    ema, seeds = EMA(net, 0.999), len(x_0)
    which = torch.arange(seeds)[:, None]
    for step in range(updates):
        rows = torch.randint(N, (2 if apart else 1, seeds, BATCH), generator=g)
        optimizer.param_groups[0]["lr"] = 0.5e-3 * (1.0 + math.cos(math.pi * step / updates))
        optimizer.zero_grad(set_to_none=True)
        begin, end = x_0[which, rows[-1]].flatten(0, 1), x_1[which, rows[0]].flatten(0, 1)
        (seeds * loss(net, end, x_0=begin, generator=g)).backward()  # the sum over seeds of their mean losses
        optimizer.step()
        ema.update(step + 1)
    return ema.net


def solve(
    methods: Sequence[str], problems: Sequence[Problem], scale: float, updates: int
) -> Iterator[tuple[str, BaseField]]:
    """(method, trained field of all seeds abreast), in the common ``scale`` of both sides."""
    seeds = range(SEED, SEED + len(problems))
    x_0, x_1 = (torch.stack(x) / scale for x in zip(*((p.x_0, p.x_1) for p in problems), strict=True))
    paired = torch.stack([p.x_0[p.optimal] for p in problems]) / scale
    flow = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    if "ot" in methods:
        yield "ot", flow.field(train(Abreast(seeds), flow, paired, x_1, updates, apart=False, seed=SEED))
    for name in (name for name in BRIDGES if name in methods):
        bridge = BridgeMatching(schrodinger_bridge(BRIDGES[name] / scale), two_heads())
        heads = pl.nets.TwoHeads(Abreast(seeds), Abreast([seed + 1000 for seed in seeds]))
        yield name, bridge.field(train(heads, bridge, paired, x_1, updates, apart=False, seed=SEED))
    if "cfm" in methods or "reflow" in methods:
        net = train(Abreast(seeds), flow, x_0, x_1, updates, apart=True, seed=SEED)
        if "cfm" in methods:
            yield "cfm", flow.field(net)
    if "reflow" in methods:
        ends = pl.sample(flow.field(net), x_0.flatten(0, 1), solver="euler", steps=STEPS).reshape(x_1.shape)
        again = copy.deepcopy(net).requires_grad_(True)
        yield "reflow", flow.field(train(again, flow, x_0, ends, updates, apart=False, seed=SEED + 1))


def measure(field: BaseField, problems: Sequence[Problem], scale: float) -> list[dict[str, float]]:
    """Of each seed: W2 of 100 Euler steps from the test source, path energy and NPE, in the units of the data."""
    solution = pl.solve(field, torch.cat([p.test_0 for p in problems]) / scale, solver="euler", steps=STEPS)
    assert solution.trajectory is not None
    moves = solution.trajectory.diff(dim=0).double() * scale  # h v
    energies = STEPS * moves.square().sum((0, -1)).reshape(len(problems), -1).mean(1)
    found = []
    for p, x, energy in zip(problems, solution.x.chunk(len(problems)), energies.tolist(), strict=True):
        found.append(
            {"w2": pl.metrics.wasserstein2(scale * x, p.test_1), "energy": energy, "npe": abs(energy - p.cost) / p.cost, "optimum": p.cost}
        )  # fmt: skip
    return found


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
            for method, name in (NAMES | {"floor": "training set, the floor"}).items():
                values = [v[key] for k, v in done.items() if k.startswith(f"{cell}/{method}/{updates}/") and key in v]
                if values:
                    published = theirs.get("sb" if method in BRIDGES else method, ("", ""))[place]
                    rows.append([cell, name, spread(values), published, len(values)])
        found.append((title, _bench.table(["cell", "method", "ours", "published", "seeds"], rows)))
    return found


def main() -> None:
    """Run what is not cached yet, cell by cell, and write the tables."""
    options = _bench.parser(__doc__)
    options.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    options.add_argument("--methods", nargs="+", default=list(NAMES), choices=list(NAMES))
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--updates", type=int, default=20_000)
    args = options.parse_args()
    _bench.setup(args.threads)
    done, updates = load(), 20 if args.quick else args.updates
    cells, seeds = args.cells[:1] if args.quick else args.cells, range(SEED, SEED + (1 if args.quick else args.seeds))
    for cell in cells:
        wanted = [m for m in args.methods if any(f"{cell}/{m}/{updates}/{seed}" not in done for seed in seeds)]
        if not wanted:
            continue
        problems = [problem(cell, seed) for seed in seeds]
        for seed, p in zip(seeds, problems, strict=True):
            key = f"{cell}/floor/{updates}/{seed}"
            if key not in done and not args.quick:
                done[key] = {"w2": pl.metrics.wasserstein2(p.x_1, p.test_1)}
        sizes = torch.tensor([[p.x_0.square().mean(), p.x_1.square().mean()] for p in problems])
        scale = float(sizes.mean(0).prod() ** 0.25)
        begin = time.process_time()
        for method, field in solve(wanted, problems, scale, updates):
            trained = time.process_time() - begin
            for seed, found in zip(seeds, measure(field, problems, scale), strict=True):
                done[f"{cell}/{method}/{updates}/{seed}"] = {**found, "train, all seeds": trained}
                print(time.strftime("%H:%M:%S"), cell, method, seed, json.dumps(found), flush=True)
            if not args.quick:
                keep(done)
            begin = time.process_time()
    if args.quick:
        return
    note = (__doc__ or "").split("\n\n", 2)[1:]
    intro = "\n\n".join(note).split("\n\nCells are cached")[0]
    _bench.write(
        "transport2d", "Transport in the plane", [("Protocol", intro), *sections(done, updates)], {"cells": done}
    )


if __name__ == "__main__":
    main()
