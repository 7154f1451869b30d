"""`tune`: fit a non-stationary solver to a field by matching converged endpoints (theory T40); the fit is in `fitting`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._typing import Cond, Scalar
from pathline.field import BaseField
from pathline.guidance import Guidance, guide
from pathline.solvers.base import Noise
from pathline.solvers.fitting import METHODS, Candidate, Fit, starting_points, suitable
from pathline.solvers.frontier import endpoint, ranking, reference, rms, take_rows
from pathline.solvers.integrate import Tell, as_cond, shares
from pathline.solvers.nonstationary import NonStationary
from pathline.solvers.robust import typical
from pathline.solvers.sampling import draw_source, evaluating
from pathline.solvers.unknowns import Problem, misses, to_solver

WHAT = {name: name for name in ("all", "times", "coefficients")}
"""What a fit may move."""


@dataclass(frozen=True)
class Plan:
    """How much of everything a fit takes."""

    method: str
    particles: int
    """That are fitted to, unless told otherwise."""
    starts: int
    """Starting points that race."""
    sprint: int
    """Iterations of the race."""
    iterations: int
    """Of a fit, all stages together, unless told otherwise."""
    grid_points: int
    """Particles that the grids of starting points are fitted to, at about a thousand evaluations each."""
    both: bool = True
    """Whether to fit to the ends alone too, where there is a fit by the way."""


PLANS = {
    "gauss_newton": Plan("gauss_newton", 1024, 4, 8, 40, 256),
    "few": Plan("gauss_newton", 256, 2, 4, 16, 64, both=False),
    "adam": Plan("adam", 512, 3, 30, 250, 64),
}
"""By what `fitting.suitable` finds, or by the method that is named."""
MOST = max(plan.particles for plan in PLANS.values())
"""Noises that are drawn, beside those held out, before it is known which plan a field takes."""


def tune(
    field: BaseField,
    evaluations: int,
    *,
    shape: Sequence[int] | None = None,
    x_0: Tensor | None = None,
    samples: int | None = None,
    held_out: int = 512,
    what: str = "all",
    method: str = "auto",
    iterations: int | None = None,
    guidance: "Guidance | Scalar | None" = None,
    generator: torch.Generator | None = None,
    chunk: int = 256,
    tolerance: float | None = None,
    target: tuple[Tensor, Tensor] | None = None,
    progress: bool = False,
    **cond: Any,
) -> NonStationary:
    """A solver of ``evaluations`` evaluations fitted to ``field``, with its guidance and conditions.

    ``shape`` is that of one sample; the fit draws ``samples`` and ``held_out`` noises, or uses the first and the rest of
    ``x_0``. Unless told otherwise ``samples`` is 1,024, 256 for a network of which an evaluation is much work
    (`fitting.CHEAP`), 512 for Adam. Conditions hold one row per sample, or any number of rows that are repeated. ``what`` is
    "all", "times" (the coefficients follow as Adams-Bashforth on the fitted times) or "coefficients". ``method`` is
    "gauss_newton" (forward-mode), "adam" (reverse-mode, steps recomputed), or "auto": the first for a network that has
    forward-mode derivatives, else the second. The converged reference is solved to ``tolerance`` (1e-5 in float64, 1e-3 else),
    or given as ``target`` = (x_0, x_1).

    The result is used like any solver: ``pl.sample(field, shape, solver=tuned)``. Of the ends of the stages of the fits (see
    `fitting`) it is the one that serves the held-out noise best. Its ``info`` holds the RMS ``error`` on that noise beside that of the
    best untuned solver, ``baseline_error``; `NonStationary.save` refuses to write a solver that is not better.
    """
    lookup("what", what, WHAT)
    lookup("method", method, {"auto": None, **METHODS})
    if not isinstance(evaluations, int) or evaluations < 1:
        raise ValueError(f"evaluations must be a positive integer, got {evaluations!r}")
    if held_out < 2 or (samples is not None and samples < 2):
        raise ValueError(f"samples and held_out must be at least 2, got {samples} and {held_out}")
    field.check_conditions(cond)
    field = guide(field, guidance)
    began = time.perf_counter()
    with evaluating(field), torch.no_grad(), shares(progress) as tell:
        x_0, cond = _sources(field, shape, x_0, target, (samples or MOST) + held_out, generator, cond)
        one = Problem(field, x_0[:1], x_0[:1], take_rows(cond, slice(1)), evaluations, chunk)
        plan = PLANS[suitable(one, what) if method == "auto" else method]
        count = plan.particles if samples is None else samples
        if shape is not None:
            x_0, cond = x_0[: count + held_out], take_rows(cond, slice(count + held_out))
        spare = min(held_out, len(x_0) // 3) if samples is None else 0
        split = min(count, len(x_0) - max(2, spare))
        tell("converged end points", 0.0)
        x_1, moved = _ends(field, x_0, cond, tolerance) if target is None else (target[1], 0.0)
        problem, test = (
            Problem(field, x_0[rows], x_1[rows], take_rows(cond, rows), evaluations, chunk)
            for rows in (slice(0, split), slice(split, None))
        )
        tell("untuned solvers", 0.0)
        baseline_error, baseline = ranking(field, test.x_0, test.target, test.cond, evaluations)[0]
        tell("starting points", 0.0)
        starts = starting_points(problem, what, plan.grid_points)[: plan.starts]
        total = plan.iterations if iterations is None else iterations
        way = problem.on_the_way() if plan.method == "gauss_newton" else None
        ways = [None, way] if way is not None and plan.both else [way]
        fits = [Fit(problem, each, plan.method) for each in ways]
        ends = _run(fits, starts, min(plan.sprint, total), total, tell)
        unknowns, shape_ = min(ends, key=lambda end: typical(misses(test, *end)))
        tuned = to_solver(field, unknowns, evaluations, shape_)
        error = rms(endpoint(field, test.x_0, tuned, tuned.own_grid(field.path), test.cond) - test.target)
    info = {
        "evaluations": evaluations,
        "error": error,
        "baseline": f"{baseline.solver_name} on {baseline.grid_name}",
        "baseline_error": baseline_error,
        "reference_uncertainty": moved,
        "schedule": repr(field.path.schedule),
        "prediction": repr(field.prediction),
        "what": what,
        "method": plan.method,
        "samples": len(problem.x_0),
        "held_out": len(test.x_0),
        "seconds": round(time.perf_counter() - began, 1),
    }
    return replace(tuned, info=info)


def _sources(
    field: BaseField,
    shape: Sequence[int] | None,
    x_0: Tensor | None,
    target: tuple[Tensor, Tensor] | None,
    count: int,
    generator: torch.Generator | None,
    cond: Cond,
) -> tuple[Tensor, Cond]:
    """(x_0, conditions) of all particles: what is given, or ``count`` that are drawn."""
    given = [name for name, value in (("shape", shape), ("x_0", x_0), ("target", target)) if value is not None]
    if len(given) != 1:
        raise ValueError(f"give one of shape, x_0, target; got {', '.join(given) or 'none'}")
    if target is not None:
        x_0, x_1 = target
        if x_0.shape != x_1.shape:
            raise ValueError(f"target must be a pair of like shapes, got {tuple(x_0.shape)} and {tuple(x_1.shape)}")
    if x_0 is None:
        x_0 = draw_source(field, (count, *(shape or ())), Noise(generator))
    if len(x_0) < 4:
        raise ValueError(f"need at least 4 source points, got {len(x_0)}")
    return x_0, as_cond({name: _repeat(value, len(x_0)) for name, value in cond.items()}, len(x_0), x_0.device)


def _run(fits: list[Fit], starts: list[Candidate], sprint: int, iterations: int, tell: Tell) -> list[Candidate]:
    """The ends of all stages of the fits."""
    each, ends = len(starts) * sprint + iterations, []
    for k, fit in enumerate(fits):

        def tick(done: int, k: int = k) -> None:
            tell("fit", (k + done / each) / len(fits))

        ends += fit.run(starts, sprint, iterations, tick)
    return ends


def _ends(field: BaseField, x_0: Tensor, cond: Cond, tolerance: float | None) -> tuple[Tensor, float]:
    """(converged endpoints, their uncertainty)."""
    if tolerance is None:
        tolerance = 1e-5 if x_0.dtype == torch.float64 else 1e-3
    return reference(field, x_0, cond, tolerance=tolerance)


def _repeat(value: Any, count: int) -> Any:
    """Rows repeated to ``count`` of them."""
    return value[torch.arange(count) % len(value)] if isinstance(value, Tensor) and value.ndim else value
