"""Classifier-free guidance (theory T33; Ho and Salimans 2022)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance.base import Guidance, extrapolate, null_conditions, weight_at
from pathline.paths.base import Estimate


@dataclass(frozen=True)
class CFG:
    """u~ = (1 - w) u(x | none) + w u(x | y): ``weight`` w = 1 is no guidance, 0 drops the condition.

    ``weight`` is a number, a tensor (B,), or a function of t. ``null`` names the empty condition where it is not -1 (labels) or
    NaN (vectors), e.g. ``{"y": 10}`` for a network whose class 10 means none. Others write 1 + w' for this w.
    """

    weight: Scalar | Callable[[Tensor], Scalar]
    null: Mapping[str, Any] | None = None

    def __call__(self, field: BaseField) -> BaseField:
        return CFGField(field, self)


def guide(field: BaseField, guidance: "Guidance | Scalar | None") -> BaseField:
    """``field`` under ``guidance``: a function from field to field, the scale of classifier-free guidance, or None."""
    if guidance is None:
        return field
    return guidance(field) if callable(guidance) else CFG(guidance)(field)


class CFGField(BaseField):
    """The guided field: both branches in one call of the network on a doubled batch."""

    def __init__(self, field: BaseField, guidance: CFG) -> None:
        self.field, self.guidance = field, guidance
        self.path, self.prediction = field.path, field.prediction
        self.branches = 2 * field.branches

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        if not any(isinstance(value, Tensor) for value in cond.values()):
            raise ValueError("guidance needs a condition to strengthen: give one, e.g. y=labels")
        none = null_conditions(cond, self.guidance.null)
        both = {
            name: torch.cat([none[name], value]) if isinstance(value, Tensor) else value for name, value in cond.items()
        }
        times = torch.cat([t, t]) if t.ndim else t
        value = self.field.evaluate(torch.cat([x_t, x_t]), times, **both).value
        negative, positive = value.chunk(2)
        w = weight_at(self.guidance.weight, t, x_t)
        return self.path.read(x_t, t, self.prediction, extrapolate(negative, positive, w))

    def modules(self) -> list[torch.nn.Module]:
        return self.field.modules()

    def reads(self) -> Callable[..., Any] | None:
        return self.field.reads()
