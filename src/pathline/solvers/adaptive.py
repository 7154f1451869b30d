"""Adaptive Runge-Kutta pairs that give every sample a step size of its own (theory T4).

Step control after Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I,
II.4. A sample that has arrived leaves the batch, so a stiff one costs its own evaluations and nobody else's.
"""

from dataclasses import dataclass, replace
from dataclasses import field as default
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline.field import BaseField
from pathline.solvers.base import Bound, Counts, Noise, Solver, as_time, bind
from pathline.solvers.pairs import DOPRI5, TSIT5, Pair

SAFETY, SHRINK, GROW, MEMORY = 0.9, 0.2, 10.0, 0.04


@dataclass(frozen=True, kw_only=True)
class March:
    """Where each sample stands. Times and step sizes (B,) in float64, the rest like the state."""

    goal: float
    """The time that the march is for."""
    until: float
    """The last time before the goal that may be looked at: the goal itself, unless no velocity can be read there."""
    x: Tensor
    t: Tensor
    slope: Tensor
    h: Tensor
    error: Tensor
    counts: Counts
    cell: tuple[Tensor, ...] = ()
    """(t, h, x, k_1, ..., k_7) of each sample's last step, for the dense output."""
    shown: Tensor | None = default(default=None, repr=False)
    """The state that was returned last; another one coming back means a new start."""


@dataclass(frozen=True)
class Adaptive(Solver):
    """Every sample steps as its own error asks: |error| <= atol + rtol max(|x|, |x_new|) in the root mean square over its entries.

    A grid names the times at which states are asked for: between its first and last time the solver steps freely and the
    others are read off the dense output (order 4). Gradients flow through the states, not into step sizes or grid.
    ``max_evaluations`` per sample guards against fields that are not finite or too stiff.
    """

    pair: Pair
    rtol: float = 1e-5
    atol: float = 1e-5
    max_evaluations: int = 10_000
    order: int = 5
    default_steps: int = 1
    adaptive: bool = True

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not value >= 0.0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.rtol == 0.0 and self.atol == 0.0:
            raise ValueError("rtol and atol are both 0: no step could satisfy them")
        if self.max_evaluations < 10:
            raise ValueError(f"max_evaluations must be at least 10, got {self.max_evaluations}")

    def evaluations(self, steps: int) -> int:
        """Evaluations of ``steps`` accepted steps: what they cost if none is rejected; two find the first step size."""
        return 2 + steps * (len(self.pair.tableau.b) - 1)

    def steps(self, evaluations: int) -> int:
        raise ValueError(
            f"evaluations={evaluations} cannot be promised by an adaptive solver, which chooses its own steps: set its "
            "tolerances instead, e.g. solvers.dopri5(rtol=1e-4, atol=1e-4), or take a fixed-step solver such as 'rk4'"
        )

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> March:
        return self._begin(field, x, grid[0], grid[-1])

    def counts(self, state: March) -> Counts:
        return state.counts

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, March]:
        field, t, s = bind(field), as_time(t), as_time(s)
        way = 1.0 if s > t else -1.0
        march: March = self._begin(field, x, t, s) if state is None else state
        beyond = (s.item() - march.goal) * way > 0.0  # stepped by hand: nobody knew that the way goes on
        if march.shown is not x or (beyond and march.until != march.goal):
            march = self._begin(field, x, t, s if beyond else as_time(march.goal), march.counts)
        elif beyond:
            march = replace(march, goal=s.item(), until=reach(field, t, s))
        target = min(s.item() * way, march.until * way) * way
        march = self._advance(field, march, target, way)
        x_s = march.x if target == march.until else self._dense(march, target)
        if target != s.item():
            x_s, march = self._last(field, x_s, march, target, s)
        return x_s, replace(march, shown=x_s)

    def _begin(self, field: Bound, x: Tensor, t: Tensor, until: Tensor, counts: Counts | None = None) -> March:
        """A first slope and a first step size (Hairer et al., II.4)."""
        stop = reach(field, t, until)
        times = torch.full((len(x),), t.item(), dtype=torch.float64, device=x.device)
        slope = field(x, times).velocity
        scale = self.atol + self.rtol * x.detach().abs()
        size, speed = rms(x.detach() / scale), rms(slope.detach() / scale)
        h = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed).clamp(max=abs(stop - t.item()))
        h = h if stop > t.item() else -h
        ahead = x + expand_time(h.to(x.dtype), x) * slope
        bend = rms((field(ahead.detach(), times + h).velocity - slope).detach() / scale) / h.abs()
        steepest = torch.maximum(speed, bend)
        first = torch.where(steepest <= 1e-15, (1e-3 * h.abs()).clamp(min=1e-6), (0.01 / steepest) ** 0.2)
        h = torch.copysign(torch.minimum(100.0 * h.abs(), first), h)
        zero = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        counts = Counts(accepted=zero, rejected=zero, evaluations=zero) if counts is None else counts
        counts = replace(counts, evaluations=counts.evaluations + 2)
        return March(
            goal=until.item(),
            until=stop,
            x=x,
            t=times,
            slope=slope,
            h=h,
            error=torch.full_like(h, 1e-4),
            counts=counts,
            shown=x,
        )

    def _advance(self, field: Bound, march: March, target: float, way: float) -> March:
        """All samples to ``target`` or beyond; only those that are not there yet are evaluated."""
        rows = ((target - march.t) * way > 0.0).nonzero()[:, 0]
        if len(rows) == 0:
            return march
        keep = target != march.until  # else every sample ends on the target itself
        full = [march.x, march.t, march.slope, march.h, march.error]
        if keep:
            full += march.cell or [march.t, march.h, march.x, *[march.slope] * len(self.pair.tableau.b)]
        tally = [v.clone() for v in (march.counts.accepted, march.counts.rejected, march.counts.evaluations)]
        part = field if len(rows) == len(march.t) else field.take(rows)
        x, t, slope, h, error = (v if part is field else v[rows] for v in full[:5])
        while True:
            left = march.until - t
            final = h.abs() > 0.999 * left.abs()
            free, h = h, torch.where(final, left, h)
            stop = torch.where(final, march.until, t + h)
            x_new, stages, size = self._attempt(part, x, t, stop, slope)
            ok = size <= 1.0
            for count, add in zip(tally, (ok, ~ok, len(stages) - 1)):
                count[rows] += add
            cell = (t, h, x, *stages) if keep else ()
            t = torch.where(ok, stop, t)
            x = torch.where(expand_time(ok, x), x_new, x)
            slope = torch.where(expand_time(ok, x), stages[-1], slope)
            h = h * growth(size, error, ok)
            # a step cut short by the end says little about the size that the error would have borne
            h = torch.where(final & ok, torch.copysign(torch.maximum(h.abs(), free.abs()), h), h)
            error = torch.where(ok, size.clamp(min=1e-4), error)
            there = (target - t) * way <= 0.0
            if bool(there.any()):
                full = _place(full, (x, t, slope, h, error, *cell), rows, there)
                rows = rows[~there]
                if len(rows) == 0:
                    break
                x, t, slope, h, error = (v[~there] for v in (x, t, slope, h, error))
                part = field.take(rows)
            self._guard(rows, t, h, tally[2])
        counts = Counts(accepted=tally[0], rejected=tally[1], evaluations=tally[2])
        x, t, slope, h, error, *cells = full
        return replace(march, x=x, t=t, slope=slope, h=h, error=error, counts=counts, cell=tuple(cells))

    def _attempt(
        self, field: Bound, x: Tensor, t: Tensor, s: Tensor, slope: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """(x_new, stages, error in units of the tolerance (B,)) of one step each from t to s, both (B,)."""
        wide = expand_time((s - t).to(x.dtype), x)
        stages, x_new = [slope], x
        for row, c in zip(self.pair.tableau.a[1:], self.pair.tableau.c[1:], strict=True):
            x_new = x + wide * weigh(row, stages)
            stages.append(field(x_new, s if c == 1.0 else t + c * (s - t)).velocity)
        scale = self.atol + self.rtol * torch.maximum(x.detach().abs(), x_new.detach().abs())
        return x_new, stages, rms((wide * weigh(self.pair.error, stages)).detach() / scale)

    def _guard(self, rows: Tensor, t: Tensor, h: Tensor, evaluations: Tensor) -> None:
        over = evaluations[rows] > self.max_evaluations
        if bool(over.any()):
            i = int(over.nonzero()[0])
            raise RuntimeError(
                f"sample {int(rows[i])} stands at t={t[i].item():.6g} after max_evaluations={self.max_evaluations}, its step "
                f"down to {abs(h[i].item()):.2g}: loosen rtol={self.rtol:g} and atol={self.atol:g}, raise max_evaluations, "
                "or look for a field that is not finite there"
            )

    def _dense(self, march: March, target: float) -> Tensor:
        """The states at ``target``, inside each sample's last step."""
        t, h, x, *stages = march.cell
        theta = ((target - t) / h).clamp(0.0, 1.0)
        powers = torch.stack([theta, theta**2, theta**3, theta**4])
        dense = torch.tensor(self.pair.dense, dtype=torch.float64, device=theta.device) @ powers * h  # (7, B)
        out = x
        for weight, stage in zip(dense.to(x.dtype), stages):
            out = out + expand_time(weight, x) * stage
        return out

    def _last(self, field: Bound, x: Tensor, march: March, t: float, s: Tensor) -> tuple[Tensor, March]:
        """The short rest of the way to an end where no velocity can be read, by the midpoint rule."""
        h = s.item() - t
        middle = field(x + 0.5 * h * march.slope, as_time(t + 0.5 * h)).velocity
        counts = replace(march.counts, evaluations=march.counts.evaluations + 1)
        return x + h * middle, replace(march, counts=counts)


def growth(size: Tensor, before: Tensor, ok: Tensor) -> Tensor:
    """The factor of the next step size from the error just seen and the one before (a PI controller)."""
    factor = SAFETY * size.clamp(min=1e-10) ** (0.75 * MEMORY - 0.2) * before**MEMORY
    factor = torch.where(torch.isfinite(size), factor.clamp(SHRINK, GROW), SHRINK)
    return torch.where(ok, factor, factor.clamp(max=1.0))


def weigh(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    """sum_i w_i k_i over the weights that are not zero."""
    total: Tensor | None = None
    for w, k in zip(weights, stages):
        if w != 0.0:
            total = w * k if total is None else total.add(k, alpha=w)
    return torch.zeros_like(stages[0]) if total is None else total


def rms(x: Tensor) -> Tensor:
    """The root mean square over all but the first axis, float64 (B,)."""
    return x.abs().double() if x.ndim == 1 else x.flatten(1).double().pow(2).mean(1).sqrt()


def reach(field: Bound, t: Tensor, until: Tensor) -> float:
    """The last time before ``until`` at which a velocity can be read."""
    if not field.singular(until):
        return until.item()
    good, bad = t.item(), until.item()
    for _ in range(40):
        middle = 0.5 * (good + bad)
        good, bad = (good, middle) if field.singular(as_time(middle)) else (middle, bad)
    return good


def _place(full: list[Tensor], arrived: tuple[Tensor, ...], rows: Tensor, there: Tensor) -> list[Tensor]:
    """``full`` with the samples that have arrived written into their places."""
    if len(rows) == len(full[0]) and bool(there.all()):
        return list(arrived)
    return [f.index_copy(0, rows[there], v[there]) for f, v in zip(full, arrived)]


def dopri5(*, rtol: float = 1e-5, atol: float = 1e-5, max_evaluations: int = 10_000) -> Adaptive:
    """Dormand-Prince 5(4) with these tolerances."""
    return Adaptive(DOPRI5, rtol=rtol, atol=atol, max_evaluations=max_evaluations)


def tsit5(*, rtol: float = 1e-5, atol: float = 1e-5, max_evaluations: int = 10_000) -> Adaptive:
    """Tsitouras 5(4) with these tolerances: smaller error constants at the same cost."""
    return Adaptive(TSIT5, rtol=rtol, atol=atol, max_evaluations=max_evaluations)
