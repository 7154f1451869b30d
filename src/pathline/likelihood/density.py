"""log p(x_1) and x_0 of a flow: the way from data to noise, and the divergence along it (theory T7).

d/dt log p_t(x_t) = -div u_t(x_t), so log p_1(x_1) = log p_0(x_0) - int_0^1 div u_t(x_t) dt. For a solver with a fixed grid the
integral is a quadrature over the states at the grid's times, one divergence each, however many stages a step has, and any
deterministic solver will do. A solver that chooses its own steps carries it as one more entry of the state instead,
so that its error control sees it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._shapes import check_state, working_dtype
from pathline._typing import Cond
from pathline.field import BaseField
from pathline.likelihood.quadrature import PROBE, flat, quadrature
from pathline.likelihood.traces import DIVERGENCES, Estimator, draw_probe, with_divergence
from pathline.paths.base import Estimate
from pathline.predictions import VELOCITY
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import as_cond, as_solver, check_grid, run
from pathline.solvers.sampling import choose_grid, evaluating
from pathline.solvers.sde import VelocityOnly
from pathline.times import TimeLaw

LOG_2PI = math.log(2.0 * math.pi)


def log_prob(
    field: BaseField,
    x_1: Tensor,
    *,
    divergence: str = "exact",
    probes: int = 1,
    noise: str = "rademacher",
    solver: "Solver | str" = "dopri5",
    steps: int | None = None,
    evaluations: int | None = None,
    grid: "Tensor | TimeLaw | None" = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    source: Callable[[Tensor], Tensor] | None = None,
    correction: str = "none",
    differentiable: bool = False,
    **cond: Any,
) -> Tensor:
    """log p(x_1) under the flow of ``field``, (B,), nats (T7), for states ``x_1`` (B, ...) of any rank.

    ``divergence`` "exact" pulls D cotangents back; "hutchinson" pulls ``probes``, an unbiased estimate of the integral with
    directions fixed along the way (``noise`` "rademacher" or "gaussian"); "hutch++" (3 probes or more) has less variance
    where few directions make up the trace. ``seeds``, one per sample, or ``generator`` draw the directions. ``solver``, ``steps``,
    ``evaluations`` and ``grid`` are those of `sample`, the way taken from data to noise.

    The density is that of the state at t = 1: of data with the rest of noise sigma_1 on a path that stops short (EDM, VE). The
    source is N(0, sigma_0² I), or the log-density ``source`` of states (B, ...) at t = 0. Where no velocity can be read at an
    end (data prediction at t = 1), the way begins as near as one can. ``differentiable`` lets gradients flow to x_1 and networks.

    ``correction`` "score" makes good, to first order and at no cost, what the solver's steps miss: where the computed way moves by
    dx instead of u dt, log p_t along it changes by s . (dx - u dt), the score s read from the same evaluations. Right for fields
    whose score is that of their flow (exact ones, well-trained networks; not barely trained ones); for solvers on a grid.
    """
    method = lookup("divergence", divergence, DIVERGENCES)
    corrected = lookup("correction", correction, {"none": False, "score": True})
    x, cond = _begin(field, x_1, cond)
    if divergence != "exact":
        stream = Noise(generator, None if seeds is None else list(seeds))
        cond[PROBE] = draw_probe(x, divergence, probes, noise, stream)
    elif generator is not None or seeds is not None:
        raise ValueError("generator and seeds are read by nothing: the exact divergence draws no directions")
    solver = as_solver(solver)
    with evaluating(field), torch.set_grad_enabled(differentiable):
        times = _descending(field, solver, steps, evaluations, grid, reserve=int(not solver.adaptive))
        if solver.adaptive:
            if corrected:
                raise ValueError("correction='score' is for solvers on a grid: name one, e.g. solver='ab2', or drop it")
            x_0, integral = _augmented(field, x, solver, times, method, cond)
        else:
            x_0, integral = quadrature(field, x, solver, times, method, cond, corrected)
        start = _source(field, x_0) if source is None else source(x_0)
        return start + integral.to(start.dtype)


def encode(
    field: BaseField,
    x_1: Tensor,
    *,
    solver: "Solver | str" = "dopri5",
    steps: int | None = None,
    evaluations: int | None = None,
    grid: "Tensor | TimeLaw | None" = None,
    differentiable: bool = False,
    **cond: Any,
) -> Tensor:
    """The source point x_0 that the flow carries to ``x_1``, (B, ...), in units of N(0, I).

    `sample` from it returns x_1, to the accuracy of the solver, on paths that end at sigma = 0; on others (EDM, VE) `integrate`
    from sigma_0 x_0 does, for `sample` ends there with a jump to the data prediction.
    """
    x, cond = _begin(field, x_1, cond)
    solver = as_solver(solver)
    with evaluating(field), torch.set_grad_enabled(differentiable):
        times = _descending(field, solver, steps, evaluations, grid)
        x_0 = run(Bound(field, cond), x, solver, times).x
        return x_0 / field.path.start(torch.ones((), dtype=x.dtype, device=x.device))


class Augmented(BaseField):
    """The flow of (x, a) with da/dt = div u: states (B, D + 1), the last entry a."""

    def __init__(self, field: BaseField, shape: Sequence[int], method: Estimator) -> None:
        self.field, self.shape, self.method = field, tuple(shape), method
        self.path, self.prediction, self.branches = field.path, VELOCITY, field.branches

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        probe = cond.pop(PROBE, None)
        x = x_t[:, :-1].reshape(-1, *self.shape)
        estimate, div = with_divergence(self.field, x, t, self.method, probe, cond)
        return VelocityOnly(x_t, t, torch.cat([flat(estimate.velocity), div[:, None]], dim=1))

    def singular(self, t: Tensor) -> bool:
        return self.field.singular(t)

    def carried(self) -> Cond:
        return self.field.carried()


def _augmented(
    field: BaseField, x: Tensor, solver: Solver, times: Tensor, method: Estimator, cond: Cond
) -> tuple[Tensor, Tensor]:
    """(x_0, -int_0^1 div u dt): the integral as an entry of the state."""
    state = torch.cat([flat(x), x.new_zeros(len(x), 1)], dim=1)
    end = run(Bound(Augmented(field, x.shape[1:], method), cond), state, solver, times).x
    return end[:, :-1].reshape(x.shape), end[:, -1]


def _begin(field: BaseField, x_1: Tensor, cond: Cond) -> tuple[Tensor, Cond]:
    check_state(x_1, "x_1")
    field.check_conditions(cond)
    return x_1.to(working_dtype(x_1)).clone(), as_cond(cond, len(x_1), x_1.device)


def _descending(
    field: BaseField,
    solver: Solver,
    steps: int | None,
    evaluations: int | None,
    grid: "Tensor | TimeLaw | None",
    *,
    reserve: int = 0,
) -> Tensor:
    """The times from data to noise; ``reserve`` evaluations of a budget are kept for the last state."""
    if solver.stochastic:
        raise ValueError("solver must be deterministic, for a likelihood follows the flow, e.g. solver='dopri5'")
    if solver.own_grid(field.path) is not None:
        raise ValueError("this solver brings its own grid from noise to data: take another one, e.g. 'dopri5'")
    if isinstance(grid, Tensor):
        times = choose_grid(field, solver, steps, evaluations, check_grid(grid))
    else:
        if evaluations is not None and steps is None:
            steps, evaluations = solver.steps(evaluations - reserve), None
        times = _stop_where_defined(field, choose_grid(field, solver, steps, evaluations, grid))
    return times.flip(0) if bool(times[0] < times[-1]) else times


def _stop_where_defined(field: BaseField, times: Tensor) -> Tensor:
    """Rising ``times`` squeezed to end at the last time at which the field has a velocity."""
    if not field.singular(times[-1]):
        return times
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if field.singular(times.new_tensor(middle)) else (middle, high)
    return times * low


def _source(field: BaseField, x_0: Tensor) -> Tensor:
    """log N(x_0; 0, sigma_0² I)."""
    scale = float(field.path.start(torch.ones((), dtype=torch.float64)))
    size = x_0[0].numel()
    return -0.5 * flat(x_0 / scale).square().sum(1) - size * (0.5 * LOG_2PI + math.log(scale))
