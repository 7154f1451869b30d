"""What quality costs on a given field: a converged reference, and every untuned solver on every built-in grid."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline._typing import Cond
from pathline.field import BaseField
from pathline.solvers.adaptive import dopri5
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import run
from pathline.solvers.registry import SOLVERS
from pathline.solvers.runge_kutta import RK4, RungeKutta
from pathline.solvers.sampling import finish, start_where_defined
from pathline.times import TimeLaw

ROUGH = 2000
"""Evaluations of a sample after which its field counts as too rough for steps of its own."""
FINER = 16.0
"""How much tighter the tolerance of the solve is that tells how far the one before it was off."""
STALLED = 0.7
"""Of what the solve before it moved the endpoints: a finer solve that moves them by more does not converge."""
REST = 0.02
"""Noise in the state, as a share of the signal, from which a field without converged endpoints is asked for the data."""


Solve: TypeAlias = Callable[[Solver, Tensor], Tensor]
"""Endpoints by a solver at times from 0, the beginning, to 1, the end."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A solver on a grid, at a cost."""

    solver_name: str
    grid_name: str
    solver: Solver
    grid: Tensor
    evaluations: int


def endpoint(
    field: BaseField, x_0: Tensor, solver: Solver, grid: Tensor, cond: Cond, chunk: int = 1024, *, jump: bool = False
) -> Tensor:
    """The data that source points x_0 (B, ...) are carried to, chunk by chunk: what `sample` returns.

    With ``jump`` it is the data prediction at the end of the grid.
    """
    ends, whole = [], Bound(field, cond)
    for rows in torch.arange(len(x_0)).split(chunk):
        bound = whole.take(rows)
        solution = run(bound, field.path.start(x_0[rows]), solver, grid, noise=Noise())
        ends.append(bound(solution.x, grid[-1]).data if jump else finish(bound, solver, solution).x)
    return torch.cat(ends)


def reference(
    field: BaseField, x_0: Tensor, cond: Cond, *, tolerance: float = 1e-5, steps: int = 16, most: int = 1024
) -> tuple[Tensor, float]:
    """(converged endpoints, their RMS uncertainty), until a more accurate solve moves them by less than ``tolerance``.

    The tolerance is relative to the RMS of the endpoints. Every sample takes steps of its own (Dormand-Prince); where a field
    is too rough for that, all take those of RK4, doubled up to ``most``.

    A field without endpoints (`arrives`) has its data prediction where sigma/alpha is `REST` in their stead. What is left
    at ``most`` is returned, not hidden.
    """
    until = 1.0 if arrives(field, x_0, cond, tolerance) else rest_time(field)

    def solve(solver: Solver, times: Tensor) -> Tensor:
        grid = start_where_defined(field, until * times)
        return endpoint(field, x_0, solver, grid, cond, jump=until < 1.0)

    found = by_own_steps(solve, tolerance, 32.0 * torch.finfo(x_0.dtype).eps)
    return doubled(solve, tolerance, steps, most) if found is None else found


def arrives(field: BaseField, x_0: Tensor, cond: Cond, tolerance: float, probes: int = 64) -> bool:
    """Whether the states of ``field`` come to rest as t goes to 1: whether the data prediction there is the state itself.

    It is for an exact field, and for a network whose velocity is finite at t = 1. Under one that predicts data, with an error,
    x goes on towards x̂(x, 1), past good samples, for as long as a solver comes nearer to t = 1.
    """
    if field.path.stops_short() or not field.singular(torch.ones((), dtype=torch.float64)):
        return True
    rows = slice(0, probes)
    x_0, cond = x_0[rows], take_rows(cond, rows)
    times = start_where_defined(field, rest_time(field) * time_laws.cosine().grid(16))
    x = endpoint(field, x_0, RungeKutta(RK4, 4), times, cond, jump=True)
    return rms(Bound(field, cond)(x, times.new_ones(())).data - x) < 10.0 * tolerance * rms(x)


def rest_time(field: BaseField) -> float:
    """The time at which sigma/alpha is `REST`."""
    return float(field.path.schedule.t_of_logsnr(torch.tensor(-math.log(REST), dtype=torch.float64)))


def by_own_steps(solve: Solve, tolerance: float, finest: float) -> tuple[Tensor, float] | None:
    """`reference` by Dormand-Prince; None where the field is too rough, or tolerances of ``finest`` too coarse to tell two solves
    apart."""
    local, previous = tolerance, None
    moves: list[float] = []
    if local / FINER <= finest:
        return None
    while local > finest:
        try:
            ends = solve(dopri5(rtol=local, atol=local, max_evaluations=ROUGH), torch.tensor([0.0, 1.0]).double())
        except RuntimeError:  # it gave up: its message speaks of a budget that is ours
            return None
        moves.append(math.inf if previous is None else rms(ends - previous))
        if moves[-1] < tolerance * rms(ends) or stalled(moves, 1):
            return ends, moves[-1]
        local, previous = local / FINER, ends
    return None


def doubled(solve: Solve, tolerance: float, steps: int, most: int) -> tuple[Tensor, float]:
    """`reference` by RK4 whose steps are doubled until the endpoints stay."""
    solver, law = RungeKutta(RK4, 4), time_laws.cosine()
    previous = solve(solver, law.grid(steps))
    moves: list[float] = []
    while True:
        steps *= 2
        ends = solve(solver, law.grid(steps))
        moves.append(rms(ends - previous))
        if moves[-1] < tolerance * rms(ends) or 2 * steps > most or stalled(moves, 2):
            return ends, moves[-1]
        previous = ends


def stalled(moves: Sequence[float], times: int) -> bool:
    """Whether each of the last ``times`` of the moves was hardly smaller than the one before it.

    >>> stalled([0.5, 0.4, 0.3], 2), stalled([0.5, 0.4, 0.02], 2), stalled([0.5], 1)
    (True, False, False)
    """
    last = moves[-times - 1 :]
    return len(last) > times and all(after > STALLED * before for before, after in pairwise(last))


def rms(x: Tensor) -> float:
    """Root mean square over all entries."""
    return float(x.double().pow(2).mean().sqrt())


def built_in_grids(field: BaseField) -> dict[str, TimeLaw]:
    """The grids that a user can name, for the schedule of ``field``."""
    schedule = field.path.schedule
    return {
        "uniform": time_laws.uniform(),
        "cosine": time_laws.cosine(),
        "shifted(2)": time_laws.shifted(2.0),
        "shifted(0.5)": time_laws.shifted(0.5),
        "log_snr_uniform": time_laws.log_snr_uniform(schedule, -5.0, 5.0),
        "karras": time_laws.karras(schedule),
    }


def contenders(
    field: BaseField, evaluations: int, solvers: Sequence[str] | None = None, grids: Sequence[str] | None = None
) -> Iterator[Contender]:
    """Every deterministic fixed-step solver on every built-in grid that ``evaluations`` pay for."""
    laws = built_in_grids(field)
    for name in SOLVERS if solvers is None else solvers:
        solver = SOLVERS[name]
        if solver.stochastic or solver.adaptive:
            continue
        budget = evaluations - int(field.path.stops_short())
        steps = max((n for n in range(1, budget + 1) if solver.evaluations(n) <= budget), default=0)
        if steps == 0:
            continue
        for grid_name, law in laws.items():
            if grids is None or grid_name in grids:
                grid = start_where_defined(field, law.grid(steps))
                yield Contender(
                    solver_name=name,
                    grid_name=grid_name,
                    solver=solver,
                    grid=grid,
                    evaluations=solver.evaluations(steps) + evaluations - budget,
                )


def ranking(
    field: BaseField,
    x_0: Tensor,
    target: Tensor,
    cond: Cond,
    evaluations: int,
    *,
    keep: int = 6,
    pilot: int = 96,
    solvers: Sequence[str] | None = None,
    grids: Sequence[str] | None = None,
) -> list[tuple[float, Contender]]:
    """(RMS distance to ``target``, contender) of the best ``keep`` solvers and grids at a budget, the best first.

    All contend on the first ``pilot`` samples, the best of them on all.
    """

    def ranked(some: Sequence[Contender], rows: slice) -> list[tuple[float, Contender]]:
        starts, ends, given = x_0[rows], target[rows], take_rows(cond, rows)
        errors = [rms(endpoint(field, starts, c.solver, c.grid, given) - ends) for c in some]
        finite = [pair for pair in zip(errors, some, strict=True) if math.isfinite(pair[0])]
        return sorted(finite, key=lambda pair: pair[0])

    first = ranked(list(contenders(field, evaluations, solvers, grids)), slice(0, pilot))
    if not first:
        raise ValueError(f"no solver runs in {evaluations} evaluations on this path: give more")
    return ranked([contender for _, contender in first[:keep]], slice(None))


def take_rows(cond: Cond, rows: slice) -> Cond:
    """Some rows of every condition."""
    return {k: v[rows] if isinstance(v, Tensor) and v.ndim else v for k, v in cond.items()}
