"""A scale for each of several conditions (theory T33; Brooks et al. 2023, arXiv 2211.09800, eq. 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pathline.field import BaseField
from pathline.guidance.base import Guided, Weight, null_conditions, stacked, weight_at
from pathline.paths.base import Estimate


@dataclass(frozen=True)
class Composed:
    """u~ = u(none) + sum_k w_k (u(c_1 ... c_k) - u(c_1 ... c_{k-1})): conditions join one after the other, each with its own scale.

    ``weights`` maps the names of conditions to scales (each as in `CFG`), in the order in which they join, e.g.
    ``{"image": 1.5, "y": 3.0}``; conditions that are not named stay in every branch. K conditions take K + 1 branches in one call of the
    network, which must have seen all of these with conditions dropped (`Matching.condition_dropout`). All scales 1 is no guidance.
    """

    weights: Mapping[str, Weight]
    null: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("weights must name at least one condition, e.g. {'image': 1.5, 'y': 3.0}")

    def __call__(self, field: BaseField) -> BaseField:
        return ComposedField(field, self)


class ComposedField(Guided):
    """K + 1 branches in one call."""

    def __init__(self, field: BaseField, guidance: Composed) -> None:
        self.count = len(guidance.weights) + 1
        super().__init__(field, branches=self.count * field.branches, **guidance.weights)
        self.guidance = guidance

    def passes(self, t: Tensor) -> float:
        return self.count * self.field.passes(t)

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        own, cond = self.split(cond)
        names = list(self.guidance.weights)
        null = self.guidance.null or {}
        conds = [
            null_conditions(cond, {k: v for k, v in null.items() if k in names[i:]}, names[i:])
            for i in range(self.count)
        ]
        parts = [estimate.read(self.prediction) for estimate in stacked(self.field, x_t, t, conds)]
        value = parts[0]
        for name, before, after in zip(names, parts, parts[1:]):
            value = value + weight_at(own[name], t, x_t) * (after - before)
        return self.path.read(x_t, t, self.prediction, value)
