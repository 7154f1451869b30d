"""Solvers fitted to a model: one set of times and coefficients per step (theory T40; arXiv 2403.01329).

Every Gaussian path is the linear one seen through y = x/(alpha + sigma) and r = alpha/(alpha + sigma), where
dy/dr = x_1 - x_0. In these coordinates the general explicit solver with n evaluations of the displacement d is

    y_{i+1} = a_i y_0 + sum_{j <= i} b_ij d_j,    d_j = E[x_1 - x_0 | x_t = (alpha + sigma) y_j] at clock r_j,

which contains every Runge-Kutta and multistep method. The clock r_j at which the network is asked need not be that of
the state, and r_0 > 0 is allowed: on a Gaussian start a network knows nothing at r = 0 but the mean.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.paths.affine import AffinePath
from pathline.predictions import DISPLACEMENT
from pathline.schedules import Schedule
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind

FORMAT = "pathline-solver"
VERSION = 1


def clock_of(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(r, scale) = (alpha/(alpha + sigma), alpha + sigma) at t."""
    coefs = schedule(t)
    scale = torch.as_tensor(coefs.alpha + coefs.sigma)
    return coefs.alpha / scale, scale


def time_of(schedule: Schedule, r: Tensor) -> Tensor:
    """The time at which alpha/(alpha + sigma) = r."""
    return schedule.t_of_logsnr(torch.logit(r))


@dataclass(frozen=True, kw_only=True, eq=False)
class NonStationary(Solver):
    """Times r (n,), source weights a (n,) and displacement weights b (n, n), lower triangular; see the module.

    It brings its own grid: ask for no steps. The last state is that at r = 1, free of noise on every path. ``info``
    says what it was fitted to and how well, and is kept in the file.
    """

    clock: tuple[float, ...]
    a: tuple[float, ...]
    b: tuple[tuple[float, ...], ...]
    info: dict[str, Any] = field(default_factory=dict)
    order: int = 1
    one_step: bool = False
    finishes: bool = True

    def __post_init__(self) -> None:
        n = len(self.clock)
        if n < 1 or len(self.a) != n or [len(row) for row in self.b] != list(range(1, n + 1)):
            raise ValueError(f"need n times, n weights a and rows b of length 1..n, got {n}, {len(self.a)}, {self.b!r}")
        numbers = torch.tensor([*self.clock, *self.a, *(w for row in self.b for w in row)], dtype=torch.float64)
        if not bool(torch.isfinite(numbers).all()):
            raise ValueError("times and coefficients must be finite")
        if not all(0.0 <= r < 1.0 for r in self.clock):
            raise ValueError(f"clock must lie in [0, 1), got {self.clock}")

    def own_grid(self, path: AffinePath) -> Tensor:
        """The times of the states, n + 1: the start, the moments of evaluation after the first, and the end."""
        inner = time_of(path.schedule, torch.tensor(self.clock[1:], dtype=torch.float64))
        ends = inner.new_zeros(1), inner.new_ones(1)
        return torch.cat([ends[0], inner.clamp(1e-6, 1.0 - 1e-6), ends[1]]).cummax(0).values

    def evaluations(self, steps: int) -> int:
        if steps != len(self.clock):
            raise ValueError(f"this solver was fitted for {len(self.clock)} steps, got {steps}")
        return steps

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Any:
        _, scale = clock_of(field.path.schedule, grid[0])
        y = x / scale
        return y, y, ()

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        field, t, s = bind(field), as_time(t), as_time(s)
        first, y, slopes = self.start(field, x, t[None], Noise()) if state is None else state
        i = len(slopes)
        slopes = (*slopes, displacement(field, y, torch.tensor(self.clock[i], dtype=torch.float64)))
        y = combine_slopes(first, self.a[i], self.b[i], slopes)
        end = 1.0 if i + 1 == len(self.clock) else clock_of(field.path.schedule, s)[1]
        return end * y, (first, y, slopes)

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the solver as JSON; refused if it was measured to be worse than the best solver that needs no fit."""
        error, baseline = self.info.get("error"), self.info.get("baseline_error")
        if error is not None and baseline is not None and not error < baseline:
            raise ValueError(
                f"not saved: error {error:.3g} on held-out noise, while {self.info.get('baseline')} without any fit has "
                f"{baseline:.3g}: use that, or tune with more samples or iterations"
            )
        content = {
            "format": FORMAT,
            "version": VERSION,
            "clock": self.clock,
            "a": self.a,
            "b": self.b,
            "info": self.info,
        }
        target = FilePath(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


def displacement(field: Bound, y: Tensor, r: Tensor) -> Tensor:
    """E[x_1 - x_0] at the state y and the clock r."""
    schedule = field.path.schedule
    t = time_of(schedule, r)
    return field(clock_of(schedule, t)[1] * y, t).read(DISPLACEMENT)


def combine_slopes(first: Tensor, a: Any, row: Any, slopes: tuple[Tensor, ...]) -> Tensor:
    """a y_0 + sum_j b_j d_j."""
    y = a * first
    for weight, slope in zip(row, slopes, strict=True):
        y = y + weight * slope
    return y


def load_solver(path: "str | os.PathLike[str]") -> NonStationary:
    """A solver saved by `NonStationary.save`."""
    try:
        content = json.loads(FilePath(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no solver file at {path}: pl.tune(...).save(path) writes one") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a solver file, or a damaged one: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a solver file of this package")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} has version {content.get('version')}, this package reads {VERSION}")
    try:
        return NonStationary(
            clock=tuple(float(r) for r in content["clock"]),
            a=tuple(float(w) for w in content["a"]),
            b=tuple(tuple(float(w) for w in row) for row in content["b"]),
            info=dict(content["info"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
