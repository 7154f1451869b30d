"""Singlestep exponential solvers: stages inside the step, no memory (theory T36; Lu et al. 2022)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.predictions import DISPLACEMENT, Prediction
from pathline.schedules import Schedule, log_snr
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.exponential import (
    SHARE,
    Clock,
    Combination,
    affine_schedule,
    check_row,
    density,
    determinant,
    log_snr_at,
    node_weights,
    numbers,
)


class Stages(NamedTuple):
    """What one step does, known from the grid alone."""

    t: float
    s: float
    row: Prediction
    times: tuple[Tensor, ...]
    reach: tuple[Combination, ...]
    """How the point after each stage is reached from x_t."""


@dataclass(frozen=True)
class Singlestep(Solver):
    """One step through stages at fractions of the clock's interval, each reached by the formula of `exponential`.

    ``stages[i]`` = (fraction, nodes): the point that lies at this fraction (1 for the last) is reached from x_t by the
    polynomial through the predictions at the stages listed in ``nodes``, 0 being t itself.
    Where the clock or x/D is infinite the same stages are taken with the displacement in its own clock, which is finite
    everywhere: as a Runge-Kutta method for dy/dc = p they keep their order there.
    """

    row: Prediction
    clock: Clock
    stages: tuple[tuple[float, tuple[int, ...]], ...]
    order: int

    def __post_init__(self) -> None:
        check_row(self.row)

    def evaluations(self, steps: int) -> int:
        return steps * len(self.stages)

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> tuple[Stages, ...]:
        return self.plan(field, grid)

    def step(
        self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any
    ) -> tuple[Tensor, tuple[Stages, ...] | None]:
        field, t, s = bind(field), as_time(t), as_time(s)
        known = bool(state) and (torch.compiler.is_compiling() or (state[0].t, state[0].s) == (t.item(), s.item()))
        stages = state[0] if known else self.plan(field, torch.stack([t.cpu().double(), s.cpu().double()]))[0]
        values: tuple[Tensor, ...] = ()
        x_s = x
        for time, combination in zip(stages.times, stages.reach):
            values = (*values, field(x_s, time).read(stages.row))
            x_s = combination.of(x, values)
        return x_s, state[1:] if known else state

    def plan(self, field: Bound, grid: Tensor) -> tuple[Stages, ...]:
        """The stages of every step along ``grid``."""
        schedule = affine_schedule(field.path)
        d = torch.as_tensor(determinant(self.row, schedule(grid)), dtype=torch.float64).expand(len(grid))
        finite = torch.isfinite(self.clock.at(log_snr_at(schedule, grid))) & (d != 0.0)
        regular = finite[:-1] & finite[1:]
        plan: dict[int, Stages] = {}
        for row, clock, rows in ((self.row, self.clock, regular), (DISPLACEMENT, SHARE, ~regular)):
            where = rows.nonzero()[:, 0]
            if len(where):
                stages = self._stages(schedule, row, clock, grid[:-1][where], grid[1:][where])
                plan.update(zip(where.tolist(), stages))
        return tuple(plan[i] for i in range(len(regular)))

    def _stages(self, schedule: Schedule, row: Prediction, clock: Clock, t: Tensor, s: Tensor) -> list[Stages]:
        n, k = len(t), len(self.stages)
        c_t, c_s = (clock.at(log_snr_at(schedule, v))[:, None] for v in (t, s))
        fractions = torch.tensor([0.0, *(fraction for fraction, _ in self.stages)], dtype=torch.float64)
        c = c_t + fractions * (c_s - c_t)  # (n, k + 1)
        inner = schedule.t_of_logsnr(log_snr(clock.coefs(c[:, 1:-1])))
        times = torch.cat([t[:, None], inner, s[:, None]], 1)
        d = torch.as_tensor(determinant(row, schedule(times)), dtype=torch.float64).expand(n, k + 1)
        valid = torch.zeros(k, k, dtype=torch.bool)
        for i, (_, nodes) in enumerate(self.stages):
            valid[i, list(nodes)] = True
        weights = node_weights(
            density(row, clock),
            c[:, None, :-1].expand(n, k, k).reshape(n * k, k),
            valid.repeat(n, 1),
            c_t.expand(n, k).reshape(-1),
            c[:, 1:].reshape(-1),
        ).reshape(n, k, k)
        scales, weights = numbers(d[:, 1:] / d[:, :1]), numbers(d[:, 1:, None] * weights)
        ends = zip(t.tolist(), s.tolist())
        return [
            Stages(
                *ends_i,
                row,
                times[i, :-1].unbind(),
                tuple(Combination(a, tuple(w)) for a, w in zip(scales[i], weights[i])),
            )
            for i, ends_i in enumerate(ends)
        ]
