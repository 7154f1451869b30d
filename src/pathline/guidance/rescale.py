"""Guidance with its spread rescaled (theory T34; Lin et al. 2024, arXiv 2305.08891, eq. 14-16)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance.base import Weight, extrapolate
from pathline.guidance.branches import Branched, Branches
from pathline.predictions import Prediction


@dataclass(frozen=True)
class Rescale:
    """p = (phi std(p_+)/std(p_cfg) + 1 - phi) p_cfg, with p_cfg = (1 - w) p_- + w p_+ and std over the entries of each sample.

    ``phi`` = 0 is `CFG`; 0.7 is the authors' choice. The formula is not linear: it depends on the prediction that it is applied to,
    ``space``, the network's own if None (noise or v in the paper).
    """

    weight: Weight
    phi: float = 0.7
    space: Prediction | None = None
    null: Mapping[str, Any] | None = None
    of: Collection[str] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.phi <= 1.0:
            raise ValueError(f"phi must lie in [0, 1] (0 is plain guidance), got {self.phi}")

    def __call__(self, field: BaseField) -> BaseField:
        return Branched(field, self._rule, self.weight, self.null, self.of)

    def _rule(self, branches: Branches, w: Scalar) -> Tensor:
        negative, positive = branches.pair(self.space)
        guided = extrapolate(negative, positive, w)
        before, after = _variance(positive), _variance(guided)
        spread = (before > 0.0) & (after > 0.0)  # filled before the quotient: a NaN behind `where` poisons gradients
        ratio = torch.where(spread, (torch.where(spread, before, 1.0) / torch.where(spread, after, 1.0)).sqrt(), 1.0)
        return branches.moved(self.space, (self.phi * ratio + (1.0 - self.phi)) * guided - positive)


def _variance(p: Tensor) -> Tensor:
    """The variance of each sample's entries, (B, 1, ...); 0 for states that are single numbers, which keep their scale."""
    if p.ndim == 1:
        return torch.zeros_like(p)
    return p.var(dim=tuple(range(1, p.ndim)), keepdim=True, correction=0)
