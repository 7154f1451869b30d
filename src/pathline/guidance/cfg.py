"""Classifier-free guidance (theory T33; Ho and Salimans 2022)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance.base import Guidance, Weight, extrapolate
from pathline.guidance.branches import Branched, Branches


@dataclass(frozen=True)
class CFG:
    """u~ = (1 - w) u(x | none) + w u(x | y): ``weight`` w = 1 is no guidance, 0 drops the condition.

    ``weight`` is a number, a tensor (B,), or a function of t (`guidance.scales`). ``null`` names the empty condition where it is
    not -1 (labels) or NaN (vectors, images), e.g. ``{"y": 10}`` for a network whose class 10 means none, or an own negative
    condition. ``of`` names the conditions that are strengthened, the others staying in both branches; None is all of them.
    Others write 1 + w' for this w.
    """

    weight: Weight
    null: Mapping[str, Any] | None = None
    of: Collection[str] | None = None

    def __call__(self, field: BaseField) -> BaseField:
        return Branched(field, lerp, self.weight, self.null, self.of)


def lerp(branches: Branches, w: Scalar) -> Tensor:
    """(1 - w) negative + w positive, in the field's own prediction."""
    return extrapolate(*branches.pair(), w)


def guide(field: BaseField, guidance: "Guidance | Scalar | None") -> BaseField:
    """``field`` under ``guidance``: a function from field to field, the scale of classifier-free guidance, or None."""
    if guidance is None:
        return field
    return guidance(field) if callable(guidance) else CFG(guidance)(field)
