"""Exact pairs of a batch: time and excess cost of pathline, torchcfm, POT, SciPy and lapx.

Source N(0, I). Data in the plane: the 8 Gaussians of torchcfm's notebooks (radius 5); in 784 and 3,072 dimensions random
images, each uniform numbers times one random contrast, minus a half. Every contender gets the same two float32 tensors and
returns its pairs: torchcfm samples them from its plan with replacement, as it does in training; POT returns a plan.
"SciPy" is `linear_sum_assignment` on the squared distances, "SciPy, products" on −2⟨x_0, x_1⟩, "lapx" its Jonker–Volgenant
solver on the same in float32. The excess is the mean squared distance of the pairs (of torchcfm: of its plan) over the
optimum, minus one; the optimum is SciPy's on float64 products up to n = 1,024, above it the best of the contenders.
"used" is the share of the source points that occur in the pairs.

Batches are kept in results/.cache/coupling.json, so an interrupted run goes on; remove the file to measure anew.
"""

import json
import statistics
import warnings
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import _bench
import pathline as pl

SIZES = {
    2: (64, 128, 256, 512, 1024, 2048, 4096),
    784: (64, 128, 256, 512, 1024, 2048, 4096),
    3072: (256, 512, 1024, 4096),
}
ENTROPY = 0.05  # of the mean squared distance
CACHE = _bench.RESULTS / ".cache" / "coupling.json"
HEADINGS = (
    "",
    "Time of pathline over torchcfm, ratios formed within a round",
    "Each batch",
    f"Entropic plans, regularisation {ENTROPY} of the mean squared distance, marginal error below 1e-3",
)

Pairs = tuple[Tensor, Tensor]


def points(n: int, dim: int, seed: int) -> Pairs:
    """Source and data of one batch."""
    g = torch.Generator().manual_seed(seed)
    x_0 = torch.randn(n, dim, generator=g)
    if dim == 2:
        return x_0, pl.data.toys.eight_gaussians(n, std=0.562, generator=g).x
    return x_0, 2.0 * torch.rand(n, dim, generator=g) * torch.rand(n, 1, generator=g) - 0.5


def contenders(x_0: Tensor, x_1: Tensor) -> dict[str, Callable[[], Pairs]]:
    """name -> a call that returns the pairs as rows of x_0 and of x_1."""
    n = len(x_0)
    rows = torch.arange(n)
    exact = pl.couplings.exact_ot()

    def scipy_of(cost: Tensor) -> Pairs:
        i, j = linear_sum_assignment(cost.numpy())
        return torch.from_numpy(i), torch.from_numpy(j)

    found: dict[str, Callable[[], Pairs]] = {
        "pathline": lambda: (exact(x_0, x_1), rows),
        "SciPy": lambda: scipy_of(torch.cdist(x_0, x_1) ** 2),
        "SciPy, products": lambda: scipy_of(torch.mm(x_0, x_1.T).mul_(-2.0)),
    }
    try:
        from torchcfm.optimal_transport import OTPlanSampler

        sampler = OTPlanSampler("exact")

        def torchcfm() -> Pairs:
            i, j = sampler.sample_map(sampler.get_map(x_0, x_1), n, replace=True)
            return torch.from_numpy(i), torch.from_numpy(j)

        found["torchcfm"] = torchcfm
    except ImportError:
        print("torchcfm is not installed: left out")
    try:
        import ot

        def pot() -> Pairs:
            plan = torch.from_numpy(ot.emd([], [], (torch.cdist(x_0, x_1) ** 2).double().numpy(), numItermax=10**8))
            return rows, plan.argmax(1)

        found["POT"] = pot
    except ImportError:
        print("POT is not installed: left out")
    try:
        import lap

        def lapx() -> Pairs:
            _, column, _ = lap.lapjv(torch.mm(x_0, x_1.T).mul_(-2.0).numpy())
            return rows, torch.from_numpy(column).long()

        found["lapx"] = lapx
    except ImportError:
        print("lapx is not installed: left out")
    return found


def mean_cost(pairs: Pairs, x_0: Tensor, x_1: Tensor) -> float:
    """Mean squared distance of the pairs."""
    i, j = pairs
    return float((x_0[i].double() - x_1[j].double()).square().sum(1).mean())


def plan_cost(x_0: Tensor, x_1: Tensor) -> float:
    """That of torchcfm's plan, from which it samples."""
    from torchcfm.optimal_transport import OTPlanSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = torch.from_numpy(OTPlanSampler("exact").get_map(x_0, x_1))
    i, j = plan.nonzero(as_tuple=True)
    return float(((x_0[i].double() - x_1[j].double()).square().sum(1) * plan[i, j]).sum())


def measure(n: int, dim: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds, ratio to torchcfm, excess and share of the sources, by contender."""
    x_0, x_1 = points(n, dim, seed=n + dim)
    calls = contenders(x_0, x_1)
    if n >= 2048:  # in the plane a search without prices takes most of a minute, in many dimensions that of POT
        plane = ("pathline", "torchcfm", "POT") if n < 4096 else ("pathline", "torchcfm")
        kept = plane if dim == 2 else ("pathline", "torchcfm", "SciPy, products", "lapx")
        calls = {name: call for name, call in calls.items() if name in kept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchcfm's POT stops at its limit of iterations: its excess says so
        pairs = {name: call() for name, call in calls.items()}
        timings = _bench.compare(calls, rounds=rounds, seconds=0.02, warmup=0)
    costs = {name: mean_cost(found, x_0, x_1) for name, found in pairs.items()}
    if "torchcfm" in calls:
        costs["torchcfm"] = plan_cost(x_0, x_1)
    optimum = min(costs.values())
    if n <= 1024:
        centre = x_1.double().mean(0)
        full = -2.0 * (x_0.double() - centre) @ (x_1.double() - centre).T
        i, j = linear_sum_assignment(full.numpy())
        optimum = mean_cost((torch.from_numpy(i), torch.from_numpy(j)), x_0, x_1)
    base = timings.get("torchcfm")
    return {
        name: {
            "ms": 1e3 * timings[name].median,
            "over torchcfm": timings[name].over(base) if base is not None else float("nan"),
            "excess": costs[name] / optimum - 1.0,
            "used": len(pairs[name][0].unique()) / n,
        }
        for name in calls
    }


def entropic(rounds: int) -> list[list[_bench.Cell]]:
    """Rows of the table of Sinkhorn: own against POT's, stopped at the same marginal error."""
    rows: list[list[_bench.Cell]] = []
    for n, dim in ((256, 2), (256, 784)):
        x_0, x_1 = points(n, dim, seed=n + dim)
        plans = {
            name: pl.couplings.sinkhorn(ENTROPY, relative=True, backend=backend)
            for name, backend in (("pathline", "own"), ("POT, log domain", "pot"))
        }
        timings = _bench.compare(
            {name: lambda p=p, a=x_0, b=x_1: p.plan(a, b) for name, p in plans.items()}, rounds=rounds
        )
        for name, coupling in plans.items():
            plan = coupling.plan(x_0, x_1)
            rows.append([f"{n}, D = {dim}", name, 1e3 * timings[name].median, plan.iterations, plan.cost, plan.entropy])
    return rows


def main() -> None:
    """Measure what is missing, writing the results after each batch."""
    options = _bench.parser(__doc__).parse_args()
    _bench.setup(options.threads)
    if options.quick:
        print(report({"64x2": measure(64, 2, 2), "128x784": measure(128, 784, 2)}, entropic(2))[-1])
        return
    done: dict[str, dict[str, dict[str, float]]] = json.loads(CACHE.read_text()) if CACHE.exists() else {}
    for dim, sizes in SIZES.items():
        for n in sizes:
            if f"{n}x{dim}" in done:
                continue
            rounds = options.rounds if n <= 256 else 5 if n <= 512 else 3 if n <= 1024 else 1
            done[f"{n}x{dim}"] = measure(n, dim, rounds)
            CACHE.parent.mkdir(parents=True, exist_ok=True)
            CACHE.write_text(json.dumps(done, indent=1))
    sections = report(done, entropic(5))
    _bench.write("coupling", "Couplings", [*zip(HEADINGS, sections, strict=True)], {"batches": done})


def report(done: dict[str, dict[str, dict[str, float]]], blurred: list[list[_bench.Cell]]) -> list[str]:
    """The sections of the results: what was done, ratios, the batches, the entropic plans."""
    rows: list[list[_bench.Cell]] = []
    ratios: dict[str, list[float]] = {"D = 2 (target at most 1)": [], "D >= 784 and n >= 512 (target at most 0.4)": []}
    for key, found in done.items():
        n, dim = map(int, key.split("x"))
        if dim == 2 or n >= 512:
            ratios[list(ratios)[dim > 2]].append(found["pathline"]["over torchcfm"])
        for name, one in found.items():
            told = f"{one['excess']:.1e}" if abs(one["excess"]) > 1e-7 else "0"
            rows.append([f"{n:,}", str(dim), name, one["ms"], one["over torchcfm"], told, f"{one['used']:.0%}"])
    summary = "\n".join(
        f"- {label}: median {statistics.median(values):.2f}, worst {max(values):.2f}"
        for label, values in ratios.items()
        if values
    )
    return [
        (__doc__ or "").partition("\n\n")[2].partition("Batches")[0].strip().replace("\n", " "),
        summary,
        _bench.table(["n", "D", "", "ms", "over torchcfm", "excess", "used"], rows),
        _bench.table(["batch", "", "ms", "iterations", "cost", "entropy, nats"], blurred),
    ]


if __name__ == "__main__":
    main()
