"""`sample` and `solve`: draw the source, choose the grid, integrate, finish."""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline._shapes import check_state
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance import Guidance, guide
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import Solution, as_cond, as_solver, check_grid, run
from pathline.times import TimeLaw

SEED_LIMIT = 2**32  # all that the CPU generator reads of a seed


def sample(
    field: BaseField,
    shape_or_x_0: "Tensor | Sequence[int]",
    *,
    solver: "Solver | str" = "heun",
    steps: int | None = None,
    evaluations: int | None = None,
    grid: "Tensor | TimeLaw | None" = None,
    guidance: "Guidance | Scalar | None" = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    progress: bool = False,
    **cond: Any,
) -> Tensor:
    """Samples of the data, (B, ...), from Gaussian noise of shape (B, ...) or from given source points ``x_0``.

    ``steps`` (the solver's default if nothing is said: 32, or 1 for an adaptive one) or a budget of field
    ``evaluations`` spaces the time law ``grid`` (uniform); a tensor of times is taken as it is. ``guidance`` is a
    function from field to field, or a number for classifier-free guidance. ``seeds``, one per sample, make sample i
    independent of the batch around it, on every device; else ``generator`` draws. ``cond`` are the network's
    conditions, one row per sample; an integer counts for all.

    A path that stops short of sigma = 0 (EDM, VE, DDPM tables) ends with one more evaluation, the jump to the data
    prediction. A network whose prediction says nothing about the velocity at t = 0 (noise prediction on a path without
    signal there) is started where it does. Networks run in eval mode, without gradients; for gradients use `integrate`.
    """
    return solve(
        field, shape_or_x_0, solver=solver, steps=steps, evaluations=evaluations, grid=grid, guidance=guidance,
        generator=generator, seeds=seeds, progress=progress, record=False, **cond,
    ).x  # fmt: skip


def solve(
    field: BaseField,
    shape_or_x_0: "Tensor | Sequence[int]",
    *,
    solver: "Solver | str" = "heun",
    steps: int | None = None,
    evaluations: int | None = None,
    grid: "Tensor | TimeLaw | None" = None,
    guidance: "Guidance | Scalar | None" = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    progress: bool = False,
    record: bool = True,
    **cond: Any,
) -> Solution:
    """Like `sample`, returning the `Solution`: the trajectory, its times, and what it cost."""
    solver = as_solver(solver)
    field = guide(field, guidance)
    field.check_conditions(cond)
    noise = Noise(generator, None if seeds is None else _check_seeds(seeds))
    _refuse_unused(shape_or_x_0, solver, generator, seeds)
    batch = len(shape_or_x_0) if isinstance(shape_or_x_0, Tensor) else _check_shape(shape_or_x_0)[0]
    if seeds is not None and len(seeds) != batch:
        raise ValueError(f"seeds must have one entry per sample, {batch}, got {len(seeds)}")
    x_0 = shape_or_x_0 if isinstance(shape_or_x_0, Tensor) else draw_source(field, shape_or_x_0, noise)
    check_state(x_0, "x_0")
    with evaluating(field), torch.inference_mode():
        moments = choose_grid(field, solver, steps, evaluations, grid)
        x = field.path.start(x_0)
        bound = Bound(field, as_cond(cond, len(x_0), x_0.device))
        solution = finish(bound, solver, run(bound, x, solver, moments, noise=noise, record=record, progress=progress))
    # a tensor made in inference mode could not be trained on later; its copy can
    keep = None if solution.trajectory is None else solution.trajectory.clone()
    return replace(solution, x=solution.x.clone(), trajectory=keep)


def choose_grid(
    field: BaseField,
    solver: Solver,
    steps: int | None,
    evaluations: int | None,
    grid: "Tensor | TimeLaw | None",
) -> Tensor:
    """The times to visit; of a budget, one evaluation is kept for the jump that ends a path which stops short."""
    if steps is not None and evaluations is not None:
        raise ValueError(f"give steps or evaluations, not both (got steps={steps}, evaluations={evaluations})")
    if grid is not None and not isinstance(grid, TimeLaw):
        if steps is not None or evaluations is not None:
            raise ValueError("a grid of times fixes the number of steps: give steps or evaluations no value")
        return check_grid(grid)
    for name, value in (("steps", steps), ("evaluations", evaluations)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    own = solver.own_grid(field.path)
    if own is not None:
        for name, value in (("steps", steps), ("evaluations", evaluations), ("grid", grid)):
            if value is not None and value != len(own) - 1:
                raise ValueError(f"this solver brings its own grid of {len(own) - 1} steps: give {name} no value")
        return own
    if evaluations is not None:
        reserve = int(field.path.stops_short() and not solver.finishes)
        steps = solver.steps(evaluations - reserve)
    times = (time_laws.uniform() if grid is None else grid).grid(solver.default_steps if steps is None else steps)
    return start_where_defined(field, times)


def start_where_defined(field: BaseField, times: Tensor) -> Tensor:
    """``times`` squeezed to begin at the first time at which the field has a velocity."""
    if not field.singular(times[0]):
        return times
    low, high = 0.0, 0.5
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if field.singular(times.new_tensor(middle)) else (low, middle)
    return high + (1.0 - high) * times


def draw_source(field: BaseField, shape: Sequence[int], noise: Noise) -> Tensor:
    """x_0 ~ N(0, I) where the network lives: on its device, in its dtype (float32 for half precision)."""
    shape = tuple(shape)
    if len(shape) < 2 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape must be (batch, ...) of positive integers with at least two axes, got {shape}")
    weights = [p for module in field.modules() for p in module.parameters()]
    device = weights[0].device if weights else torch.device("cpu")
    dtype = torch.float64 if weights and weights[0].dtype == torch.float64 else torch.float32
    like = torch.empty(_check_shape(shape), device=device, dtype=dtype)
    zero = torch.zeros((), dtype=torch.float64)
    return noise.normal(like, zero, zero)


def _check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(shape)
    if len(shape) < 2 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape must be (batch, ...) of positive integers with at least two axes, got {shape}")
    return shape


@contextmanager
def evaluating(field: BaseField):
    """The networks of ``field`` in eval mode (no dropout), and back as they were."""
    training = [m for top in field.modules() for m in top.modules() if m.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def finish(bound: Bound, solver: Solver, solution: Solution) -> Solution:
    """The solution with its last rest of noise removed by a jump to the data prediction, where the path leaves one."""
    if solver.finishes or not bound.path.stops_short():
        return solution
    x = bound(solution.x, solution.times[-1]).data
    trajectory = solution.trajectory
    if trajectory is not None:
        trajectory = torch.cat([trajectory[:-1], x[None]])
    return replace(
        solution,
        x=x,
        trajectory=trajectory,
        evaluations=solution.evaluations + 1,
        network_evaluations=solution.network_evaluations + math.ceil(bound.field.passes(solution.times[-1])),
    )


def _check_seeds(seeds: Sequence[int]) -> list[int]:
    numbers = [int(seed) for seed in seeds]
    for seed in numbers:
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"seeds must be integers in [0, 2**32), got {seed}")
    return numbers


def _refuse_unused(
    shape_or_x_0: object, solver: Solver, generator: torch.Generator | None, seeds: object | None
) -> None:
    if generator is not None and seeds is not None:
        raise ValueError("give generator or seeds, not both: seeds draw each sample from a stream of its own")
    if isinstance(shape_or_x_0, Tensor) and not solver.stochastic:
        for name, value in (("generator", generator), ("seeds", seeds)):
            if value is not None:
                raise ValueError(f"{name} is read by nothing: x_0 is given and the solver is deterministic")
