"""Adaptive projected guidance (theory T34; Sadat et al. 2024, arXiv 2410.02416)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._typing import Cond, Scalar
from pathline.field import BaseField
from pathline.guidance.base import Weight, weight_at
from pathline.guidance.branches import Branched, Branches, inner
from pathline.paths.base import Estimate
from pathline.predictions import DATA


@dataclass(frozen=True)
class APG:
    """D~ = D_+ + (w - 1)(d_orth + eta d_par) for the data predictions, with d = D_+ - D_- shortened to at most ``radius``.

    d_par is the part of d along D_+ (which oversaturates), d_orth the rest, norms and products per sample. ``eta`` = 1 without a
    radius is `CFG`. The paper's momentum adds beta times the last step's d to d, which makes a step depend on the one before: no
    field does that. ``momentum`` beta (-0.75 to -0.5 there) is therefore read by `pathline.control.Momentum`, a solver that
    keeps it in its state; a field with beta != 0 refuses to be evaluated without it.
    """

    weight: Weight
    eta: float = 0.0
    radius: float | None = None
    momentum: float = 0.0
    null: Mapping[str, Any] | None = None
    of: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and not self.radius > 0.0:
            raise ValueError(f"radius must be positive, or None for no bound, got {self.radius}")
        if not -1.0 < self.momentum < 1.0:
            raise ValueError(f"momentum must lie in (-1, 1), or the sum over the steps may grow, got {self.momentum}")

    def __call__(self, field: BaseField) -> BaseField:
        return APGField(field, self)

    def update(self, difference: Tensor, positive: Tensor) -> Tensor:
        """d_orth + eta d_par of the ``difference``, shortened, with respect to the data ``positive``, both (B, ...)."""
        if self.radius is not None:
            length = inner(difference, difference).clamp(min=self.radius**2).sqrt()  # its gradient is finite at 0
            difference = difference * (self.radius / length)
        square = inner(positive, positive)
        along = torch.where(square > 0.0, inner(difference, positive) / torch.where(square > 0.0, square, 1.0), 0.0)
        parallel = along * positive
        return difference - parallel + self.eta * parallel


class APGField(Branched):
    """The guided field, for a difference that may bring that of the step before along."""

    def __init__(self, field: BaseField, guidance: APG) -> None:
        super().__init__(field, self._rule, guidance.weight, guidance.null, guidance.of)
        self.guidance = guidance

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        if self.guidance.momentum != 0.0:
            raise ValueError(
                "a field has no memory, which momentum needs: sample with solver=pl.control.Momentum(solver), or set momentum=0"
            )
        return super().evaluate(x_t, t, **cond)

    def with_memory(self, x_t: Tensor, t: Tensor, memory: Tensor | None, cond: Cond) -> tuple[Estimate, Tensor]:
        """(the estimate, d + beta memory): what a solver keeps for the next step."""
        own, cond = self.split(cond)
        branches = self.branch(x_t, t, cond)
        negative, positive = branches.pair(DATA)
        d = positive - negative
        d = d if memory is None else d + self.guidance.momentum * memory
        value = self._value(branches, d, positive, weight_at(own["weight"], t, x_t))
        return self.path.read(x_t, t, self.prediction, value), d

    def _rule(self, branches: Branches, w: Scalar) -> Tensor:
        negative, positive = branches.pair(DATA)
        return self._value(branches, positive - negative, positive, w)

    def _value(self, branches: Branches, d: Tensor, positive: Tensor, w: Scalar) -> Tensor:
        return branches.moved(DATA, (w - 1.0) * self.guidance.update(d, positive))
