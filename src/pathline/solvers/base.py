"""What a solver is, and what it is given (theory T4, T5, T36)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._draws import normal
from pathline._typing import Cond
from pathline.field import BaseField
from pathline.paths.base import Estimate


class Bound:
    """A field with its conditions, counting calls: what `integrate` hands to a solver.

    ``bound(x, t)`` is the estimate at states x (B, ...) and time t, shape () or (B,).
    """

    def __init__(self, field: BaseField, cond: Cond | None = None, tally: "list[float] | None" = None) -> None:
        self.field, self.cond = field, {**field.carried(), **({} if cond is None else cond)}
        self.path, self.prediction = field.path, field.prediction
        self._tally = [0, 0, 0.0] if tally is None else tally

    @property
    def calls(self) -> int:
        """Calls of the field."""
        return int(self._tally[0])

    @property
    def rows(self) -> int:
        """Samples evaluated, summed over the calls."""
        return int(self._tally[1])

    @property
    def passes(self) -> float:
        """Passes of networks, summed over samples and calls."""
        return self._tally[2]

    def __call__(self, x: Tensor, t: Tensor) -> Estimate:
        tally, field, size = self._tally, self.field, x.shape[0]
        tally[0] += 1
        tally[1] += size
        tally[2] += size * field.passes(t)
        return field.evaluate(x, t, **self.cond)

    def take(self, rows: Tensor) -> "Bound":
        """The same field for some samples of the batch, ``rows`` (n,): their conditions, counted together with this one."""
        cond = {k: v[rows.to(v.device)] if isinstance(v, Tensor) and v.ndim else v for k, v in self.cond.items()}
        return Bound(self.field, cond, self._tally)

    def over(self, field: BaseField) -> "Bound":
        """Another field under the same conditions, counted together with this one."""
        return Bound(field, self.cond, self._tally)

    def singular(self, t: Tensor) -> bool:
        """Whether no velocity can be read at the time ``t``; see `BaseField.singular`."""
        return self.field.singular(t)


def bind(field: "BaseField | Bound", cond: Cond | None = None) -> Bound:
    """``field`` ready for a solver; a bound field is passed through."""
    return field if isinstance(field, Bound) else Bound(field, cond)


def as_time(t: "Tensor | float") -> Tensor:
    """A time as a float64 scalar on the CPU, which multiplies states of any device and dtype."""
    return t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)


class Noise:
    """Where a stochastic solver takes its increments from; unit normals per interval of time.

    With ``seeds`` each sample has a stream of its own, so sample i does not depend on the batch around it.
    """

    def __init__(self, generator: torch.Generator | None = None, seeds: "list[int] | None" = None) -> None:
        self.generator = generator
        self.streams = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """(W_s - W_t)/sqrt|s - t|, shape of x."""
        if self.streams is None:
            return normal(x.shape, self.generator, x)
        draws = [torch.randn(x.shape[1:], generator=stream, dtype=x.dtype) for stream in self.streams]
        return torch.stack(draws).to(x.device)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What each sample cost an adaptive solver, int64 (B,)."""

    accepted: Tensor
    """Steps taken."""
    rejected: Tensor
    """Steps tried and thrown away."""
    evaluations: Tensor
    """Evaluations of the field."""


class Solver(ABC):
    """One step of a method; `integrate` is the loop. `testing.check_solver` judges a new one."""

    order: int
    """Global order of the error in the step size; for a stochastic solver, its weak order."""
    stochastic: bool = False
    one_step: bool = True
    """Whether a step needs no history; a multistep method that starts at order 1 shows order min(order, 2)."""

    default_steps: int = 32
    """Steps that `sample` takes if nothing is said."""
    adaptive: bool = False
    """Whether it chooses its own steps between the times of the grid."""
    finishes: bool = False
    """Whether it ends free of noise on a path that stops short of it."""

    def own_grid(self, path: Any) -> Tensor | None:
        """The grid that a solver brings along; None for one that takes any."""
        return None

    def evaluations(self, steps: int) -> int:
        """Field evaluations of ``steps`` steps."""
        return steps

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Any:
        """The state before the first step: whatever is computed once per grid."""
        return None

    @abstractmethod
    def step(self, field: "BaseField | Bound", x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        """From time t to time s, scalars of shape (); s < t runs backwards. ``state=None`` starts anew."""

    def counts(self, state: Any) -> Counts | None:
        """Steps and evaluations of each sample, where they differ between samples."""
        return None

    def steps(self, evaluations: int) -> int:
        """The most steps that a budget of ``evaluations`` pays for."""
        n = 0
        while n < evaluations and self.evaluations(n + 1) <= evaluations:
            n += 1
        if n == 0:
            raise ValueError(
                f"evaluations={evaluations} does not pay for one step of this solver, which takes {self.evaluations(1)}"
            )
        if n == 1 and evaluations > 1:
            raise ValueError(
                f"evaluations={evaluations} would be a single step of this solver ({self.evaluations(1)} evaluations): "
                f"give at least {self.evaluations(2)}, another solver, or steps=1 if one step is meant"
            )
        return n
