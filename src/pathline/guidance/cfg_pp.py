"""CFG++: guided data, unguided noise (theory T34; Chung et al. 2024, arXiv 2406.08070)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline.field import BaseField
from pathline.guidance.base import Guided
from pathline.guidance.branches import Branched
from pathline.guidance.cfg import lerp
from pathline.times import TimeLaw


@dataclass(frozen=True)
class CFGPlusPlus:
    """The step x_s = alpha_s D_lambda + sigma_s E_-: data guided by ``weight`` lambda, renoised with the unconditional noise.

    D_lambda = (1 - lambda) D_- + lambda D_+. The step jumps by lambda sigma_t (E_- - E_+) however short it is, so it belongs to a
    grid: with q = alpha_t sigma_s/(sigma_t alpha_s) it equals a DDIM step under classifier-free guidance of scale

        w(t) = lambda/(1 - q),        s the time after t,

    and that is what this field does, on the grid of ``steps`` under the time law ``grid`` or on the times of a tensor ``grid``: the one
    that is sampled on, with solver "ddim" for the published method. lambda in [0, 1] is usual; one step has w = lambda.
    """

    weight: float
    steps: int = 32
    grid: "TimeLaw | Tensor | None" = None
    null: Mapping[str, Any] | None = None
    of: Collection[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.weight, int | float) or not self.weight >= 0.0:
            raise ValueError(f"weight must be a number of at least 0 (0 to 1 is usual for CFG++), got {self.weight!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def times(self) -> Tensor:
        """The grid, (steps + 1,), float64."""
        if isinstance(self.grid, Tensor):
            return self.grid.double()
        return (time_laws.uniform() if self.grid is None else self.grid).grid(self.steps)

    def __call__(self, field: BaseField) -> BaseField:
        return Branched(field, lerp, Stepped(field, float(self.weight), self.times()), self.null, self.of)


class Stepped:
    """t -> lambda/(1 - q), with s the first time of the grid after t; lambda itself from its last time on."""

    def __init__(self, field: "BaseField | Guided", weight: float, grid: Tensor) -> None:
        if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() > 0.0).all()):
            raise ValueError(f"grid must hold at least two times that rise, got {grid.tolist()}")
        self.schedule, self.weight, self.grid = field.path.schedule, weight, grid

    def __call__(self, t: Tensor) -> Tensor:
        grid = self.grid.to(t.device)
        now = t.double()
        place = torch.searchsorted(grid, now + 1e-9, right=True).clamp(max=len(grid) - 1)
        here, there = self.schedule(now), self.schedule(grid[place])
        last = now >= grid[-1] - 1e-9
        top, bottom = (torch.as_tensor(v) for v in (here.alpha * there.sigma, here.sigma * there.alpha))
        q = torch.where(last, 0.0, top / torch.where(bottom > 0.0, bottom, 1.0))
        return self.weight / (1.0 - q)
