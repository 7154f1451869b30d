"""Grids fitted to a given flow, without gradients (theory T39). The closed-form grids are the laws of `pathline.times`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline.field import BaseField
from pathline.predictions import DISPLACEMENT
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.exponential import SHARE, affine_schedule, log_snr_at
from pathline.solvers.integrate import as_cond, as_solver, run
from pathline.solvers.robust import squared, typical
from pathline.solvers.runge_kutta import RK4, RungeKutta
from pathline.solvers.sampling import draw_source, evaluating, finish, start_where_defined

PILOT = RungeKutta(RK4, 4)
BENDS, TRIALS, STARTS = 4, 32, 3
"""Smooth shapes by which the pattern search changes the steps, how many changes it tries, and from how many grids."""


def fit(
    field: BaseField,
    steps: int,
    shape_or_x_0: "Tensor | Sequence[int]",
    *,
    solver: "Solver | str" = "ab2",
    pilot_steps: int | None = None,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """A grid of ``steps`` steps, (steps + 1,) in float64, on which ``solver`` ends nearest to a fine pilot solve of ``field``.

    Equal local errors: in c = alpha/(alpha + sigma), where the flow is dy/dc = d with the displacement d, a step h of a method
    of order k errs by about |d^(k)| h^(k+1), which the rest of the flow magnifies by a factor G(c). The sum over all steps is
    least when steps are as dense as (G |d^(k)|)^(1/(k+1)). Pilot trajectories of 100 to 1,000 source points (B, ...) give
    the RMS of |d^(k)| by differences and G by the growth of a small perturbation.
    Of these densities for every k up to the solver's order, with and without G, softened or not, and of the closed-form laws,
    the grid with the least endpoint error on the pilot points is taken, and a pattern search bends it further while that pays.
    It takes about 9 pilot_steps + 120 steps evaluations; ``pilot_steps`` is 48, or 2 ``steps`` if that is more.

    >>> import torch, pathline as pl
    >>> from pathline.solvers import grids
    >>> field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
    >>> grid = grids.fit(field, 8, (128, 2), solver="abm2", generator=torch.Generator().manual_seed(0))
    >>> x_1 = pl.sample(field, (16, 2), solver="abm2", grid=grid)
    """
    solver = as_solver(solver)
    if solver.stochastic or solver.adaptive:
        raise ValueError(
            "a grid is fitted to a deterministic solver of fixed steps: this one draws noise or chooses its own"
        )
    pilot_steps = max(48, 2 * steps) if pilot_steps is None else pilot_steps
    if steps < 1 or pilot_steps < 8:
        raise ValueError(f"need steps >= 1 and pilot_steps >= 8, got {steps} and {pilot_steps}")
    field.check_conditions(cond)
    with evaluating(field), torch.inference_mode():
        given = isinstance(shape_or_x_0, Tensor)
        x_0 = shape_or_x_0 if given else draw_source(field, shape_or_x_0, Noise(generator))
        bound = Bound(field, as_cond(cond, len(x_0), x_0.device))
        pilot = pilot_solve(bound, x_0, pilot_steps, solver.order, generator)
        return refined(pilot, solver, ranked(pilot, solver, candidates(pilot, steps, solver.order)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pilot:
    """What a fine solve of some source points tells about the flow."""

    bound: Bound
    start: Tensor
    """The states at t = 0, (B, ...)."""
    target: Tensor
    """Where they end, (B, ...)."""
    times: Tensor
    """Moments equidistant in c, (n + 1,)."""
    bends: list[Tensor]
    """RMS of the first and higher derivatives of d there."""
    growth: Tensor
    """How a small perturbation there has grown at the end."""

    def error(self, solver: Solver, grid: Tensor) -> float:
        """How far the endpoints of ``solver`` on ``grid`` are off, `typical`; infinite where one is not finite."""
        wrong = typical(squared(endpoints(self.bound, solver, self.start, grid) - self.target))
        return wrong if math.isfinite(wrong) else math.inf

    def first(self, count: int) -> "Pilot":
        """The same with the endpoints of the first ``count`` points only."""
        some = self.bound.take(torch.arange(min(count, len(self.start))))
        return replace(self, bound=some, start=self.start[:count], target=self.target[:count])


Ranked: TypeAlias = list[tuple[float, Tensor]]
"""(error, grid), the best first."""


def candidates(pilot: Pilot, steps: int, order: int) -> list[Tensor]:
    """Grids of closed-form laws and of equal local errors, for a solver of that order."""
    field = pilot.bound.field
    laws = [
        time_laws.uniform(),
        time_laws.cosine(),
        time_laws.cosmap(),
        time_laws.log_snr_uniform(affine_schedule(field.path), -4.0, 4.0),
    ]
    laws += [time_laws.shifted(shift) for shift in (0.33, 0.5, 0.7, 1.5, 2.0, 3.0)]
    laws += [time_laws.power(p) for p in (1.3, 1.6, 2.0, 2.5)]
    grids = [start_where_defined(field, law.grid(steps)) for law in laws]
    return grids + [
        _spread(pilot.times, (g * b) ** (1.0 / (k + 1)), soft, steps)
        for k, b in enumerate(pilot.bends[:order], start=1)
        for g in (pilot.growth, torch.ones_like(pilot.growth))
        for soft in (0.0, 0.3)
    ]


def ranked(pilot: Pilot, solver: Solver, grids: list[Tensor]) -> Ranked:
    """The grids by their endpoint error on the pilot points."""
    return sorted(((pilot.error(solver, grid), grid) for grid in grids), key=lambda pair: pair[0])


def refined(pilot: Pilot, solver: Solver, best: Ranked) -> Tensor:
    """The best of the first few grids once a pattern search has bent them."""
    ends = [_bent(*pair, lambda grid: pilot.error(solver, grid)) for pair in _distinct(best)]
    return min(ends, key=lambda pair: pair[0])[1]


def _distinct(ranked: Ranked) -> Ranked:
    """The first `STARTS` of them that are not nearly the same grid."""
    kept: Ranked = []
    for wrong, grid in ranked:
        if all(float((grid - other).abs().max()) > 0.2 / len(grid) for _, other in kept):
            kept.append((wrong, grid))
        if len(kept) == STARTS:
            break
    return kept


def _bent(best: float, grid: Tensor, error: Callable[[Tensor], float]) -> tuple[float, Tensor]:
    """(error, grid) of a pattern search that starts there: smooth changes of the logarithm of the steps."""
    count = len(grid) - 1
    place = torch.linspace(-1.0, 1.0, count, dtype=torch.float64)
    shapes = [torch.special.legendre_polynomial_p(place, k) for k in range(1, min(BENDS, count - 1) + 1)]
    size, trials = 0.3, 0
    while shapes and trials < TRIALS and size > 0.02:
        better = False
        for shape in shapes:
            for sign in (1.0, -1.0):
                gaps = grid.diff() * torch.exp(sign * size * shape)
                inner = grid[0] + torch.cumsum(gaps / gaps.sum(), 0)[:-1] * (grid[-1] - grid[0])
                trial = torch.cat([grid[:1], inner, grid[-1:]])
                trials += 1
                wrong = error(trial)
                if wrong < best:
                    best, grid, better = wrong, trial, True
                    break
        size = size if better else 0.5 * size
    return best, grid.clone()


def endpoints(bound: Bound, solver: Solver, x: Tensor, grid: Tensor) -> Tensor:
    """Where ``solver`` takes the states x (B, ...) at t = 0."""
    return finish(bound, solver, run(bound, x, solver, grid)).x


def pilot_solve(bound: Bound, x_0: Tensor, steps: int, order: int, generator: torch.Generator | None) -> Pilot:
    """A fine solve from the source points ``x_0``, with derivatives for solvers of up to ``order``."""
    schedule, x = affine_schedule(bound.field.path), bound.field.path.start(x_0)
    ends = start_where_defined(bound.field, torch.tensor([0.0, 1.0], dtype=torch.float64))
    first, last = SHARE.at(log_snr_at(schedule, ends)).tolist()
    c = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    times = torch.cat([ends[:1], schedule.t_of_logsnr(torch.logit(c[1:-1])), ends[1:]])
    states = [x]
    solution = run(bound, x, PILOT, times, callback=lambda _, t, v: states.append(v))
    coefs = schedule(times)
    scale = torch.as_tensor(coefs.alpha + coefs.sigma, dtype=torch.float64)
    nudged = x + (1e-2 * scale[0].item()) * Noise(generator).normal(x, times[0], times[1])
    others = [nudged]
    run(bound, nudged, PILOT, times, callback=lambda _, t, v: others.append(v))
    gaps = torch.stack([_rms(b - a) for a, b in zip(states, others)]) / scale
    growth = gaps[-1] / gaps
    d = torch.stack([bound(v, t).read(DISPLACEMENT) for v, t in zip(states[:-1], times[:-1])])
    bends, h = [], c[1] - c[0]
    for k in range(1, min(order, 3) + 1):
        d = d.diff(dim=0) / float(h)
        size = torch.stack([_rms(v) for v in d])
        place = torch.linspace(0.5 * k, steps - 1 - 0.5 * k, len(size), dtype=torch.float64)
        bends.append(_interpolate(torch.arange(steps + 1, dtype=torch.float64), place, size))
    target = finish(bound, PILOT, solution).x
    return Pilot(bound=bound, start=x, target=target, times=times, bends=bends, growth=growth)


def judge(bound: Bound, x_0: Tensor, pilot: Pilot) -> Pilot:
    """``pilot`` with other source points, solved on the same fine grid."""
    x = bound.field.path.start(x_0)
    return replace(pilot, bound=bound, start=x, target=endpoints(bound, PILOT, x, pilot.times))


def _rms(x: Tensor) -> Tensor:
    return x.double().pow(2).mean().sqrt().cpu()


def _interpolate(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through (at, values), constant beyond the ends; ``at`` increasing."""
    right = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1)
    part = ((x - at[right - 1]) / (at[right] - at[right - 1])).clamp(0.0, 1.0)
    return values[right - 1] + part * (values[right] - values[right - 1])


def _spread(times: Tensor, density: Tensor, soft: float, steps: int) -> Tensor:
    """``steps + 1`` of the times, as dense as ``density``, mixed with a share ``soft`` of its mean."""
    density = (1.0 - soft) * density + (soft + 1e-3) * density.mean()
    mass = torch.cat([density.new_zeros(1), torch.cumsum(0.5 * (density[1:] + density[:-1]), 0)])
    levels = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    grid = _interpolate(levels, mass / mass[-1], times)
    return torch.cat([times[:1], grid[1:-1], times[-1:]])
