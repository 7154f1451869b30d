"""Guidance in an interval of time only (theory T34; Kynkäänniemi et al. 2024, arXiv 2404.07724)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance.base import Guidance, Guided
from pathline.guidance.cfg import guide
from pathline.paths.base import Estimate


@dataclass(frozen=True)
class Interval:
    """``guidance`` for ``start`` <= t <= ``stop``, and the conditional field, one branch of the network, outside.

    ``guidance`` is any function from field to field, or the scale of classifier-free guidance (one that
    changes with time is given as ``CFG(scale)``). The paper gives an interval of
    sigma; with the schedule's log(alpha/sigma) inverted, ``schedule.t_of_logsnr(-log(sigma))`` is its time.
    """

    guidance: "Guidance | Scalar"
    start: float = 0.2
    stop: float = 0.8

    def __post_init__(self) -> None:
        if not 0.0 <= self.start < self.stop <= 1.0:
            raise ValueError(f"start and stop must be times with 0 <= start < stop <= 1, got {self.start}, {self.stop}")

    def __call__(self, field: BaseField) -> BaseField:
        return IntervalField(field, guide(field, self.guidance), self)


class IntervalField(Guided):
    """The guided field inside the interval, the plain one outside; times (B,) may lie on both sides."""

    def __init__(self, field: BaseField, guided: BaseField, interval: Interval) -> None:
        super().__init__(field, branches=guided.branches)
        self.guided, self.interval = guided, interval

    def carried(self) -> dict[str, Any]:
        return self.guided.carried()

    def passes(self, t: Tensor) -> float:
        share = float(self._inside(t).double().mean())
        return share * self.guided.passes(t) + (1.0 - share) * self.field.passes(t)

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        inside = self._inside(t)
        strangers = set(self.guided.carried()) - set(self.field.carried())
        plain = {name: value for name, value in cond.items() if name not in strangers}
        if bool(inside.all()):
            return self.guided.evaluate(x_t, t, **cond)
        if not bool(inside.any()):
            return self.field.evaluate(x_t, t, **plain)
        value = torch.empty_like(x_t)
        for field, given, rows in ((self.guided, cond, inside), (self.field, plain, ~inside)):
            rows = rows.nonzero()[:, 0]
            part = {k: v[rows.to(v.device)] if isinstance(v, Tensor) and v.ndim else v for k, v in given.items()}
            there = rows.to(x_t.device)
            value = value.index_copy(0, there, field.evaluate(x_t[there], t[rows], **part).read(self.prediction))
        return self.path.read(x_t, t, self.prediction, value)

    def _inside(self, t: Tensor) -> Tensor:
        return (t >= self.interval.start) & (t <= self.interval.stop)
