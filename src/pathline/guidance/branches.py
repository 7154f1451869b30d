"""The two branches of classifier-free guidance, and what a method may do with them (theory T33, T34)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._typing import Cond, Scalar
from pathline.field import BaseField
from pathline.guidance.base import Guided, Weight, is_carried, null_conditions, stacked, weight_at
from pathline.paths.base import Estimate
from pathline.predictions import Prediction, conversion


@dataclass(frozen=True)
class Branches:
    """The estimates without (``negative``) and with (``positive``) the condition, at the same (x_t, t)."""

    negative: Estimate
    positive: Estimate
    path: Any
    prediction: Prediction
    """What the result is told in."""

    def pair(self, space: Prediction | None = None) -> tuple[Tensor, Tensor]:
        """(negative, positive) read as ``space``, the field's own prediction if None."""
        space = self.prediction if space is None else space
        return self.negative.read(space), self.positive.read(space)

    def moved(self, space: Prediction | None, delta: Tensor) -> Tensor:
        """The positive branch, its reading as ``space`` moved by ``delta``, told in `prediction`: slope D'/D of the conversion (T17)."""
        value = self.positive.read(self.prediction)
        if space is None or space is self.prediction:
            return value + delta
        coefs = self.path.coefs(self.positive.t, self.positive.x_t)
        return value + conversion(coefs, space, self.prediction)[1] * delta


Rule: TypeAlias = Callable[[Branches, Scalar], Tensor]
"""(branches, w) -> the guided value, in `Branches.prediction`."""


class Branched(Guided):
    """The field that a rule makes of both branches, which go through the network in one call on a doubled batch."""

    def __init__(
        self,
        field: BaseField,
        rule: Rule,
        weight: Weight,
        null: Mapping[str, Any] | None = None,
        of: Collection[str] | None = None,
    ) -> None:
        super().__init__(field, branches=2 * field.branches, weight=weight)
        self.rule, self.null, self.of = rule, null, of

    def passes(self, t: Tensor) -> float:
        return 2.0 * self.field.passes(t)

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        own, cond = self.split(cond)
        branches = self.branch(x_t, t, cond)
        value = self.rule(branches, weight_at(own["weight"], t, x_t))
        return self.path.read(x_t, t, self.prediction, value)

    def branch(self, x_t: Tensor, t: Tensor, cond: Cond) -> Branches:
        """Both branches at (x_t, t)."""
        if not any(isinstance(value, Tensor) and not is_carried(name) for name, value in cond.items()):
            raise ValueError("guidance needs a condition to strengthen: give one, e.g. y=labels")
        negative, positive = stacked(self.field, x_t, t, [null_conditions(cond, self.null, self.of), cond])
        return Branches(negative, positive, self.path, self.prediction)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample, (B, 1, ...) to multiply states."""
    dims = tuple(range(1, a.ndim))
    product = a.to(torch.promote_types(a.dtype, torch.float32)) * b
    return (product.sum(dims, keepdim=True) if dims else product).to(a.dtype)
