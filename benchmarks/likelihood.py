"""Likelihood beside flow_matching: error against evaluations, the exact divergence in 64 dimensions, and estimators (theory T7)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from flow_matching.solver import ODESolver
from torch import Tensor

import _bench
import pathline as pl

BUDGETS = (16, 32, 64, 128, 192, 256, 384)
POINTS = 512


class Counted(pl.BaseField):
    """A field that counts the samples it is asked for."""

    def __init__(self, field: pl.BaseField) -> None:
        self.field, self.rows = field, 0
        self.path, self.prediction = field.path, field.prediction

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> pl.Estimate:
        self.rows += len(x_t)
        return self.field.evaluate(x_t, t, **cond)

    def singular(self, t: Tensor) -> bool:
        return self.field.singular(t)


def normal_log_prob(x: Tensor) -> Tensor:
    """log N(x; 0, I), (B,)."""
    return -0.5 * (x**2).flatten(1).sum(1) - 0.5 * x[0].numel() * math.log(2.0 * math.pi)


def theirs(field: pl.BaseField, x: Tensor, **options: Any) -> Tensor:
    """log p by flow_matching, exact divergence."""
    solver = ODESolver(lambda x, t: field.evaluate(x, t).velocity)  # pyright: ignore[reportArgumentType]
    options.setdefault("step_size", None)
    return solver.compute_likelihood(x, normal_log_prob, exact_divergence=True, **options)[1]


def their_ways() -> list[tuple[str, dict[str, Any]]]:
    """flow_matching's solvers over their step sizes and tolerances."""
    fixed = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
    ways = [
        (name, {"method": name, "step_size": 1.0 / (budget // cost)})
        for name, cost in fixed.items()
        for budget in BUDGETS
    ]
    for name in ("bosh3", "dopri5", "dopri8"):
        for k in range(1, 19):
            tolerance = 10.0 ** (-0.5 * k)
            ways.append((name, {"method": name, "rtol": tolerance, "atol": tolerance}))
    return ways


def our_corrected_ways() -> list[tuple[str, dict[str, Any]]]:
    """Ours on the uniform grid, the defect of the steps made good."""
    names = ("euler", "heun", "ab2", "ab3", "ab4", "abm3", "abm4")
    return [(name, {"solver": name, "evaluations": n, "correction": "score"}) for name in names for n in BUDGETS]


def our_ways() -> list[tuple[str, dict[str, Any]]]:
    """Ours, likewise, all on the uniform grid."""
    fixed = ("euler", "midpoint", "heun", "rk4", "ab2", "ab3", "abm2", "abm3", "abm4")
    ways = [(name, {"solver": name, "evaluations": budget}) for name in fixed for budget in BUDGETS]
    for name, make in (("dopri5", pl.solvers.dopri5), ("tsit5", pl.solvers.tsit5)):
        for k in range(1, 19):
            tolerance = 10.0 ** (-0.5 * k)
            ways.append((name, {"solver": make(rtol=tolerance, atol=tolerance)}))
    return ways


def sweep(
    field: pl.BaseField, x: Tensor, truth: Tensor, call: Callable[..., Tensor], ways: list[tuple[str, dict[str, Any]]]
) -> dict[str, list[tuple[float, float]]]:
    """(evaluations per sample, RMS error) of every way."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, options in ways:
        counted = Counted(field)
        error = float((call(counted, x, **options) - truth).square().mean().sqrt())
        if math.isfinite(error):
            found.setdefault(name, []).append((counted.rows / len(x), error))
    return found


def best(found: dict[str, list[tuple[float, float]]], budget: float) -> tuple[float, str, float]:
    """(error, name, evaluations) of the best way that costs at most ``budget``."""
    return min((error, name, cost) for name, points in found.items() for cost, error in points if cost <= budget)


def errors() -> tuple[str, dict[str, Any]]:
    """Error against evaluations on the eight Gaussians."""
    field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
    x = field.sample(POINTS, 1.0, torch.Generator().manual_seed(0))
    truth = field.log_prob(x)
    ours = sweep(field, x, truth, pl.likelihood.log_prob, our_ways())
    corrected = sweep(field, x, truth, pl.likelihood.log_prob, our_corrected_ways())
    fm = sweep(field, x, truth, theirs, their_ways())
    rows = []
    for budget in BUDGETS:
        plain, better, peer = (best(found, budget) for found in (ours, corrected, fm))
        rows.append(
            (f"{budget}", *_cells(plain), *_cells(better), *_cells(peer), peer[0] / plain[0], peer[0] / better[0])
        )
    text = (
        f"RMS error of log p in nats on {POINTS} draws from the 8-Gaussian mixture, exact field, float64, exact divergence; the best "
        "of all solvers, step sizes and tolerances of either library that costs at most so many evaluations of the field per "
        'sample (in brackets: what it cost). Evaluations with a divergence count as one. "Corrected" is '
        'correction="score", solvers on uniform grids only.\n\n'
    )
    columns = ("evaluations", "pathline", "by", "corrected", "by", "flow_matching", "by", "ratio", "ratio, corrected")
    return text + _bench.table(columns, rows), {"pathline": ours, "corrected": corrected, "flow_matching": fm}


def _cells(found: tuple[float, str, float]) -> tuple[float, str]:
    error, name, cost = found
    return error, f"{name} ({cost:.0f})"


def network(size: int) -> pl.Field:
    """A random network with a flow worth solving: an MLP 3 x 256."""
    generator = torch.Generator().manual_seed(0)
    net = pl.nets.MLP(size, width=256, depth=3)
    for p in net.parameters():
        with torch.no_grad():
            p.copy_(torch.randn(p.shape, generator=generator) * (1.2 / p.shape[-1] ** 0.5 if p.ndim > 1 else 0.1))
    return pl.Field(net, pl.AffinePath(pl.Linear()), pl.VELOCITY)


def speed(rounds: int) -> tuple[str, dict[str, Any]]:
    """The same solver, the same steps, D = 64."""
    field, rows, record = network(64), [], {}
    tight = pl.solvers.dopri5(rtol=1e-7, atol=1e-7)
    for batch in (16, 64, 256):
        x = torch.randn(batch, 64, generator=torch.Generator().manual_seed(1))
        calls: dict[str, Callable[[], Tensor]] = {
            "pathline": lambda x=x: pl.likelihood.log_prob(field, x, solver="rk4", steps=16),
            "flow_matching": lambda x=x: theirs(field, x, method="rk4", step_size=1.0 / 16),
        }
        timings = _bench.compare(calls, rounds=rounds, seconds=0.0)
        truth = pl.likelihood.log_prob(field, x[:8], solver=tight)
        wrong = [float((call()[:8] - truth).square().mean().sqrt()) for call in calls.values()]
        ratio = timings["flow_matching"].over(timings["pathline"])
        rows.append((f"{batch}", *(1e3 * timings[name].median for name in calls), ratio, *wrong))
        record[batch] = {"ratio": ratio, "seconds": {n: t.median for n, t in timings.items()}, "rms": wrong}
    text = (
        "log p of a random MLP 3 x 256 (float32) in 64 dimensions, RK4 with 16 steps for both (64 evaluations), exact divergence. "
        "Ours takes one divergence per time of the grid, all 64 cotangents at once; flow_matching one per stage, a backward pass per "
        "dimension. Errors (RMS, nats) against a solve with tolerance 1e-7.\n\n"
    )
    columns = ("batch", "pathline ms", "flow_matching ms", "ratio", "our error", "their error")
    return text + _bench.table(columns, rows), record


def estimators(rounds: int) -> tuple[str, dict[str, Any]]:
    """What random directions cost in variance, and save in time."""
    field, draws = network(64), 512
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(2))
    steps = {"solver": "rk4", "steps": 16}
    exact = float(pl.likelihood.log_prob(field, x, **steps))
    rows, record = [], {}
    ways: list[tuple[str, dict[str, Any]]] = [("exact", {})]
    ways += [
        (f"hutchinson, {n} {kind}", {"divergence": "hutchinson", "probes": n, "noise": kind})
        for n in (1, 4, 16)
        for kind in ("rademacher", "gaussian")
    ]
    ways += [(f"hutch++, {n} rademacher", {"divergence": "hutch++", "probes": n}) for n in (6, 18)]
    batch = x.expand(64, 64).contiguous()
    timings = _bench.compare(
        {name: lambda o=options: pl.likelihood.log_prob(field, batch, **steps, **o) for name, options in ways},
        rounds=rounds,
        seconds=0.0,
    )
    for name, options in ways:
        taken = timings["exact"].over(timings[name])
        if not options:
            rows.append((name, exact, 0.0, None, taken))
            continue
        many = pl.likelihood.log_prob(field, x.expand(draws, 64), seeds=range(draws), **steps, **options).double()
        z = float((many.mean() - exact) / (many.std() / draws**0.5))
        rows.append((name, float(many.mean()), float(many.std()), z, taken))
        record[name] = {"mean": float(many.mean()), "std": float(many.std()), "z": z, "speed": taken}
    text = (
        f"One point in 64 dimensions under the same network, {draws} draws of the directions: mean and standard deviation of log p in "
        "nats, the deviation of the mean from the exact value in standard errors, and the time of 64 such points as a share of exact's.\n\n"
    )
    columns = ("divergence", "mean", "std", "z of the mean", "times as fast")
    return text + _bench.table(columns, rows), {"exact": exact, "ways": record}


def outcome(call: Callable[[], Tensor], truth: Tensor) -> str:
    """The error of ``call``, or what it raises."""
    try:
        return f"RMS error {float((call() - truth).square().mean().sqrt()):.1e}"
    except Exception as error:  # that it raises is the result
        return f"raises {type(error).__name__}"


def ranks() -> str:
    """Whether images have a likelihood."""
    field = pl.testing.oracles.gaussian(torch.zeros(1, 2, 2), 0.5 * torch.eye(4), pl.AffinePath(pl.Linear()))
    x = field.sample(4, 1.0, torch.Generator().manual_seed(0))
    truth = field.log_prob(x)
    ours = outcome(lambda: pl.likelihood.log_prob(field, x, solver="rk4", steps=25), truth)
    fm = outcome(lambda: theirs(field, x, method="rk4", step_size=0.04), truth)
    return f"Images, (4, 1, 2, 2), exact divergence: pathline {ours}; flow_matching {fm}."


def main() -> None:
    """Measure and write the results."""
    options = _bench.parser(__doc__).parse_args()
    _bench.setup(options.threads)
    rounds = 1 if options.quick else min(5, options.rounds)
    first, error_data = errors()
    second, speed_data = speed(rounds)
    third, estimator_data = estimators(rounds)
    sections = [
        ("Error against evaluations", first),
        ("Exact divergence in 64 dimensions", second + "\n\n" + ranks()),
        ("Random directions", third),
    ]
    if options.quick:
        print("\n\n".join(text for _, text in sections))
        return
    _bench.write(
        "likelihood",
        "Likelihood",
        sections,
        {"errors": error_data, "exact_divergence": speed_data, "estimators": estimator_data},
    )


if __name__ == "__main__":
    main()
