"""Autoguidance: a weaker version of the model as the negative (theory T34; Karras et al. 2024, arXiv 2406.02507)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._typing import Cond
from pathline.field import BaseField
from pathline.guidance.base import Guided, Weight, extrapolate, weight_at
from pathline.paths.base import Estimate


@dataclass(frozen=True)
class Autoguidance:
    """u~ = (1 - w) u_weak(x | y) + w u(x | y): away from the errors of a worse field of the same data.

    ``weak`` is a field along the same path: an early checkpoint, ``Run.open(path, step=...).field``, or a smaller network, with any
    prediction. Both get all conditions; there need be none. ``weight`` as in `CFG`.
    """

    weight: Weight
    weak: BaseField

    def __post_init__(self) -> None:
        if not isinstance(self.weak, BaseField):
            raise TypeError(f"weak must be a field such as pl.Field(net, path, prediction), got {self.weak!r}")

    def __call__(self, field: BaseField) -> BaseField:
        if self.weak.path != field.path:
            raise ValueError(
                f"weak must share the path of the field it guides: {self.weak.path!r} is not {field.path!r}; swap its schedule first"
            )
        return AutoguidedField(field, self)


class AutoguidedField(Guided):
    """Two fields, one call each."""

    def __init__(self, field: BaseField, guidance: Autoguidance) -> None:
        weak = guidance.weak
        super().__init__(field, branches=field.branches + weak.branches, weight=guidance.weight)
        self.weak = weak

    def carried(self) -> Cond:
        return {**super().carried(), **self.weak.carried()}

    def passes(self, t: Tensor) -> float:
        return self.field.passes(t) + self.weak.passes(t)

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        own, cond = self.split(cond)
        ours, theirs = set(self.field.carried()), set(self.weak.carried())
        positive = self.field.evaluate(x_t, t, **_without(cond, theirs - ours)).read(self.prediction)
        negative = self.weak.evaluate(x_t, t, **_without(cond, ours - theirs)).read(self.prediction)
        value = extrapolate(negative, positive, weight_at(own["weight"], t, x_t))
        return self.path.read(x_t, t, self.prediction, value)

    def modules(self) -> list[torch.nn.Module]:
        return self.field.modules() + self.weak.modules()


def _without(cond: Cond, names: set[str]) -> Cond:
    return {name: value for name, value in cond.items() if name not in names}
