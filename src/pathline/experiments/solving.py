"""How many evaluations a solver needs, and whether noise on the way helps (theory T5, T14)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pathline.experiments.base import Experiment, Options, Record
from pathline.experiments.subjects import is_run, recipe
from pathline.experiments.training import Yardstick, trained_config
from pathline.field import BaseField
from pathline.guidance import guide
from pathline.paths import AffinePath
from pathline.schedules import Linear
from pathline.solvers import SOLVERS, EulerMaruyama, Noise, sample
from pathline.solvers.frontier import contenders, endpoint, reference, rms
from pathline.solvers.sampling import draw_source, evaluating
from pathline.testing.oracles import eight_gaussians
from pathline.train import Run

BUDGETS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 100)
BASE = 100
"""Euler steps whose quality is the target."""
RATES = (0.0, 0.25, 1.0, 4.0, 16.0)
EXACT = "8 Gaussians, exact"


def subject_field(subject: "str | None", n: int, seed: int) -> tuple[BaseField, Tensor, dict[str, Any]]:
    """(field, source points, conditions) of a run, under its own guidance, or of the exact 8 Gaussians."""
    seeds = list(range(1000 * seed, 1000 * seed + n))
    if subject is None:
        field = eight_gaussians(AffinePath(Linear()))
        return field, draw_source(field, (n, 2), Noise(seeds=seeds)), {}
    if not is_run(subject):
        raise ValueError(f"solvers are compared on a run, and there is no folder {subject}")
    run = Run.open(subject)
    run.need_noise("solvers")
    field, labels = guide(run.field, run.arguments()["guidance"]), run.labels(n)
    return field, draw_source(field, (n, *run.shape), Noise(seeds=seeds)), {} if labels is None else {"y": labels}


def measure_solvers(options: Options) -> Iterator[Record]:
    """The fewest evaluations at which a solver is as near to the converged samples as 100 Euler steps."""
    names = [name for name, solver in SOLVERS.items() if not solver.stochastic and not solver.adaptive]
    for seed in options.seeds:
        field, x_0, cond = subject_field(options.subject, 16 if options.quick else 256, seed)
        with evaluating(field), torch.inference_mode():
            target, _ = reference(field, x_0, cond, tolerance=1e-4)
            errors = partial(_errors, field, x_0, cond, target)
            goal = errors("euler", BASE)["uniform"]
            for name in ["euler", "heun", "ab2"] if options.quick else names:
                best = _fewest(partial(errors, name), goal, (10, 100) if options.quick else BUDGETS)
                for kind, (needed, error) in best.items():
                    yield {
                        "solver": name, "grid": kind, "seed": seed, "evaluations": needed, "RMS error": error,
                        "Euler's error": goal, "times fewer": BASE / needed,
                    }  # fmt: skip


def _errors(
    field: BaseField, x_0: Tensor, cond: dict[str, Any], target: Tensor, name: str, budget: int
) -> dict[str, float]:
    """Grid -> finite RMS distance to the converged samples of the solver ``name`` at ``budget`` evaluations."""
    found = {
        c.grid_name: rms(endpoint(field, x_0, c.solver, c.grid, cond) - target)
        for c in contenders(field, budget, [name])
    }
    return {grid: error for grid, error in found.items() if math.isfinite(error)}


def _fewest(
    errors: Callable[[int], dict[str, float]], goal: float, budgets: Sequence[int]
) -> dict[str, tuple[float, float]]:
    """(least budget, error there) at which the uniform grid, and the best grid, are within ``goal``; nan where none is."""
    best: dict[str, tuple[float, float]] = {}
    for budget in budgets:
        found = errors(budget)
        for kind, error in (
            ("uniform", found.get("uniform", math.inf)),
            ("best of six", min(found.values(), default=math.inf)),
        ):
            if error <= goal:
                best.setdefault(kind, (budget, error))
        if len(best) == 2:
            break
    return {kind: best.get(kind, (math.nan, math.nan)) for kind in ("uniform", "best of six")}


def measure_sde(options: Options) -> Iterator[Record]:
    """Samples of dx = (u + eta s) dt + sqrt(2 eta) dW with eta = c sigma, for several c, c = 0 being the ODE."""
    subject = options.subject or "8gaussians"
    budgets = (20,) if options.quick else (20, 50, 200)
    rates = RATES[:2] if options.quick else RATES
    for seed in options.seeds:
        if is_run(subject):
            run = Run.open(subject)
            yardstick = Yardstick.of_run(run, quick=options.quick)
            seconds = 0.0
        else:
            config = recipe(subject, quick=options.quick)
            yardstick = Yardstick.of(config, quick=options.quick)
            run, seconds = trained_config(config, yardstick.train, seed)
        labels = yardstick.real.y if run.class_names else None
        for evaluations in budgets:
            for rate in rates:
                solver = EulerMaruyama(eta=_eta(run.field, rate)) if rate else "euler"
                x = run.sample(yardstick.n, y=labels, seed=1000 * seed, solver=solver, evaluations=evaluations)
                found = yardstick(x, labels)
                yield {
                    "field": "trained", "evaluations": evaluations, "eta / sigma": rate, "seed": seed,
                    "distance": found[yardstick.main], "real vs real": yardstick.floor()[yardstick.main],
                    "sliced W2": found["sliced W2"], "seconds": seconds,
                }  # fmt: skip
        if subject == "8gaussians":
            yield from _exact(yardstick, budgets, rates, seed)


def _eta(field: BaseField, rate: float) -> Any:
    """t -> rate sigma(t)."""
    return lambda t: rate * field.path.schedule(t).sigma


def _exact(yardstick: Yardstick, budgets: tuple[int, ...], rates: tuple[float, ...], seed: int) -> Iterator[Record]:
    """The same with the exact field: what is left is the error of the steps."""
    scale = float(yardstick.train.x.std())
    field = eight_gaussians(AffinePath(Linear()), radius=5.0 / scale, variance=scale**-2)
    floor = yardstick.floor()[yardstick.main]
    for evaluations in budgets:
        for rate in rates:
            solver = EulerMaruyama(eta=_eta(field, rate)) if rate else "euler"
            seeds = range(1000 * seed, 1000 * seed + yardstick.n)
            x = scale * sample(field, (yardstick.n, 2), solver=solver, evaluations=evaluations, seeds=seeds)
            found = yardstick(x)
            yield {
                "field": "exact", "evaluations": evaluations, "eta / sigma": rate, "seed": seed,
                "distance": found[yardstick.main], "real vs real": floor, "sliced W2": found["sliced W2"], "seconds": 0.0,
            }  # fmt: skip


EXPERIMENTS = (
    Experiment(
        name="solvers",
        question="How many evaluations does each solver need to be as near to the converged samples as 100 Euler steps?",
        measure=measure_solvers,
        by=("solver", "grid"),
        values=("evaluations", "RMS error", "Euler's error", "times fewer"),
        x="solver",
        y="evaluations",
        log="y",
        source="The same noises; the best of six grids is chosen for each budget. nan: not within 100 evaluations.",
        subject=EXACT,
    ),
    Experiment(
        name="sde-vs-ode",
        question="Does noise on the way help? eta = c sigma in dx = (u + eta s) dt + sqrt(2 eta) dW; distance is FD for images, W2 for points.",
        measure=measure_sde,
        by=("field", "evaluations", "eta / sigma"),
        values=("distance", "real vs real", "sliced W2"),
        x="eta / sigma",
        y="distance",
        log="y",
        floor="real vs real",
        source="Euler and Euler-Maruyama on a uniform grid; T5, T14.",
        subject="8gaussians",
    ),
)
