"""The only loop: a field, a state, a solver and a grid of times."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._shapes import check_state
from pathline._typing import Cond
from pathline.field import BaseField
from pathline.solvers.base import Bound, Counts, Noise, Solver
from pathline.solvers.registry import SOLVERS


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The outcome of a solve."""

    x: Tensor
    """The last state, (B, ...)."""
    times: Tensor
    """The times that were visited, (steps + 1,), float64."""
    trajectory: Tensor | None
    """The states at those times, (steps + 1, B, ...), where they were asked for."""
    evaluations: int
    """Evaluations of the field per sample; their mean, rounded up, where samples differ."""
    network_evaluations: int
    """Forward passes of the network per sample: guidance takes two per evaluation."""
    steps: int
    counts: Counts | None = None
    """Steps and evaluations of each sample of an adaptive solver."""


def check_grid(grid: Tensor) -> Tensor:
    """A grid as a float64 tensor of times, or an error that says what is wrong with it."""
    if not isinstance(grid, Tensor):
        grid = torch.as_tensor(grid, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid must be a 1-D tensor of at least two times, got shape {tuple(grid.shape)}")
    grid = grid.to(device="cpu", dtype=torch.float64)
    with torch.no_grad():
        if not bool(torch.isfinite(grid).all() and (grid >= 0.0).all() and (grid <= 1.0).all()):
            raise ValueError(f"grid must lie in [0, 1] (0 is noise, 1 is data), got {grid.tolist()}")
        gaps = grid.diff()
        if not bool((gaps > 0.0).all() or (gaps < 0.0).all()):
            raise ValueError(f"grid must rise (generate) or fall (encode) strictly, got {grid.tolist()}")
    return grid


def run(
    field: Bound,
    x: Tensor,
    solver: Solver,
    grid: Tensor,
    *,
    noise: Noise | None = None,
    record: bool = False,
    progress: bool = False,
    callback: Callable[[int, Tensor, Tensor], bool | None] | None = None,
) -> Solution:
    """Step ``x`` along ``grid``. ``callback(step, t, x)`` is called after each step; True stops there."""
    state = solver.start(field, x, grid, Noise() if noise is None else noise)
    moments = grid.unbind()
    states = [x] if record else []
    handed = [x, state]
    del x, state  # a step owns what it is handed, so that it can free what it no longer needs
    done = 0
    for done, (t, s) in enumerate(bar(list(pairwise(moments)), progress), start=1):
        handed.extend(solver.step(field, handed.pop(0), t, s, handed.pop(0)))
        if record:
            states.append(handed[0])
        if callback is not None and callback(done, s, handed[0]):
            break
    x, state = handed
    size = max(len(x), 1)
    return Solution(
        x=x,
        times=grid[: done + 1],
        trajectory=torch.stack(states) if record else None,
        evaluations=-(-field.rows // size),
        network_evaluations=math.ceil(field.passes / size - 1e-9),
        steps=done,
        counts=solver.counts(state),
    )


T = TypeVar("T")


Tell: TypeAlias = Callable[[str, float], None]
"""Is told what is being done and the share of all that is done."""


def bar(items: Sequence[T], progress: bool, label: str = "solve") -> Iterable[T]:
    """``items`` behind a progress bar if one is asked for."""
    if not progress:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, leave=False)


@contextmanager
def shares(progress: bool) -> "Iterator[Tell]":
    """Moves a progress bar, if one is asked for, through work of several kinds."""
    if not progress:
        yield lambda label, share: None
        return
    from tqdm.auto import tqdm

    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=1.0, leave=False, bar_format=form) as shown:

        def tell(label: str, share: float) -> None:
            shown.set_description(label, refresh=False)
            shown.update(share - shown.n)
            shown.refresh()

        yield tell


def integrate(
    field: BaseField,
    x: Tensor,
    solver: "Solver | str",
    grid: Tensor,
    *,
    noise: Noise | None = None,
    **cond: object,
) -> Tensor:
    """Carry the states ``x`` (B, ...) along ``grid``: ascending times generate, descending ones encode.

    Differentiable: gradients flow into x, the network and the grid. Nothing is drawn, rescaled or added; `sample`
    does that. Raises ValueError for a grid that is not strictly monotone within [0, 1].
    """
    check_state(x)
    field.check_conditions(dict(cond))
    return run(Bound(field, dict(cond)), x, as_solver(solver), check_grid(grid), noise=noise).x


def as_solver(solver: "Solver | str") -> Solver:
    """A solver, or the one of that name."""
    if isinstance(solver, Solver):
        return solver
    if not isinstance(solver, str):
        raise TypeError(f"solver must be a name of pl.SOLVERS or a Solver, got {type(solver).__name__}")
    return lookup("solver", solver, SOLVERS)


def as_cond(cond: Cond, batch: int, device: torch.device) -> Cond:
    """Conditions on the device of the state, one row per sample; a single integer label counts for all."""
    ready: Cond = {}
    for name, value in cond.items():
        if isinstance(value, int) and not isinstance(value, bool):
            value = torch.full((batch,), value)
        if isinstance(value, Tensor):
            if value.ndim and len(value) != batch:
                raise ValueError(f"{name} must have one row per sample, {batch}, got shape {tuple(value.shape)}")
            value = value.to(device)
        ready[name] = value
    return ready
