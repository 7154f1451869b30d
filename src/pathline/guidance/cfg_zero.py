"""CFG-Zero*: an optimised scale of the negative, and zero steps at the start (theory T34; Fan et al. 2025, arXiv 2503.18886)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance.base import Weight
from pathline.guidance.branches import Branched, Branches, inner
from pathline.predictions import VELOCITY


@dataclass(frozen=True)
class CFGZero:
    """u~ = (1 - w) s u_- + w u_+ with s = <u_+, u_->/|u_-|² per sample, and u~ = 0 for t < ``zero_until``.

    s is the multiple of the unconditional velocity that lies nearest to the conditional one. The paper zeroes the first step or 4%
    of them: on a uniform grid of n steps, ``zero_until`` = k/n zeroes k of them, whatever the solver; 0 none. w = 1 is no guidance:
    such samples are left alone, the start included.
    """

    weight: Weight
    zero_until: float = 0.04
    null: Mapping[str, Any] | None = None
    of: Collection[str] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.zero_until < 1.0:
            raise ValueError(f"zero_until must be a time in [0, 1), got {self.zero_until}")

    def __call__(self, field: BaseField) -> BaseField:
        return Branched(field, self._rule, self.weight, self.null, self.of)

    def _rule(self, branches: Branches, w: Scalar) -> Tensor:
        negative, positive = branches.pair(VELOCITY)
        square = inner(negative, negative)
        scale = torch.where(square > 0.0, inner(positive, negative) / torch.where(square > 0.0, square, 1.0), 1.0)
        guided = branches.moved(VELOCITY, (w - 1.0) * (positive - scale * negative))
        t, x = branches.positive.t, branches.positive.x_t
        early = expand_time(t < self.zero_until, x).to(x.device) & (torch.as_tensor(w, device=x.device) != 1.0)
        still = branches.path.read(x, t, VELOCITY, torch.zeros_like(x)).read(branches.prediction)
        return torch.where(early, still, guided)
