"""The training loss by time, so that one sees where in t the model is wrong."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pathline.objectives import BridgeMatching, Matching
from pathline.times import TimeLaw

EVERY = 16
"""Steps between those whose losses are told apart by time."""


class TimeBins:
    """Mean loss of the samples whose time fell into each of ``n`` equal bins of [0, 1], since the last `read`.

    A step counts if its number is a multiple of `EVERY`: there the loss is computed sample by sample, which is the
    same loss up to rounding and costs one reduction more.
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self.n = n
        self.sums = torch.zeros(2, n, device=device)
        """Sums of losses, and counts."""
        self._seen: Any = None
        self._telling: Any = None
        self._drawn = torch.zeros(0)

    def due(self, step: int, objective: Any) -> bool:
        """Whether step ``step`` counts; an objective of the user's does not tell the times that it drew."""
        return self.n > 0 and step % EVERY == 0 and isinstance(objective, Matching | BridgeMatching)

    def loss(
        self, objective: Any, net: Any, x_1: Tensor, given: "dict[str, Tensor]", generator: torch.Generator
    ) -> Tensor:
        """The loss of a batch, its samples counted by their times; it draws what the objective draws."""
        if self._seen is not objective:
            self._seen, self._telling = objective, replace(objective, times=TimeLaw(self._noted, objective.times.name))
        each = self._telling.per_sample(net, x_1, generator=generator, **given)
        t = self._drawn
        bins = (t * self.n).long().clamp(0, self.n - 1)
        values = each.detach().float()
        sound = values.isfinite()
        counted = torch.stack([torch.where(sound, values, torch.zeros_like(values)), sound.float()])
        self.sums.index_add_(1, bins, counted)
        return each.mean()

    def _noted(self, u: Tensor) -> Tensor:
        self._drawn = self._seen.times.quantile(u)
        return self._drawn

    def read(self) -> "list[float | None]":
        """Mean loss by bin, None for one without a sample; starts anew."""
        sums, counts = self.sums.tolist()
        self.sums.zero_()
        return [round(total / count, 6) if count else None for total, count in zip(sums, counts)]
