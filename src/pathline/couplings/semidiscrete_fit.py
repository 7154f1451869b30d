"""The heights of a semi-discrete coupling by stochastic ascent (theory T28)."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from pathline._shapes import check_state
from pathline.couplings.semidiscrete import (
    BLOCK,
    SemiDiscretePairs,
    draw_source,
    groups,
)

T = TypeVar("T")

_FIRST = 0.3  # of the standard deviation of the inner products: the first temperature
_SMOOTH = 0.3  # share of the steps with a temperature; the others choose the best point and average the heights
_LOOK = 20  # steps between two looks at the gap between the best and the second best point
_POOR = 0.25  # chi² above which the fit is said to be unfinished


@dataclass(frozen=True, kw_only=True)
class SemiDiscrete:
    """Couple a source with all N data points: minimise E max_i(<x_0, z_i> + h_i) − mean h over the heights h.

    First with the maximum softened by a temperature that falls from the spread of the inner products to the gap between the
    best and the second best point, with the step of Sinkhorn's iteration, h −= temperature log(N p). Then with the plain
    maximum, h −= c (N p − 1) where c is that gap, the scale on which p changes, divided by the square root of the step;
    the heights of this part are averaged. chi² of the result is about 1.4 N/(steps · batch).

    A step costs 2 · batch · N · D floating-point operations and at most 64 MiB beside the data (per class with labels, which
    divides N by the number of classes).

    Attributes:
        steps: of each class.
        batch: source points a step; None takes half the points of the class, between 256 and 4,096.
    """

    steps: int = 600
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2, got {self.steps}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    @torch.no_grad()
    def fit(
        self,
        data: Tensor,
        y: Tensor | None = None,
        *,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
    ) -> SemiDiscretePairs:
        """The map from the source (Gaussian noise, or the rows of ``source``) to ``data`` (N, ...), class by class with
        integer labels ``y`` (N,). Warns where the data points are still used unevenly."""
        check_set(data, y, source)
        y = None if y is None else y.to(data.device)
        heights = torch.zeros(len(data), dtype=data.dtype, device=data.device)
        for label, members, points in groups(data, y):
            told = "semi-discrete transport" if label is None else f"semi-discrete transport, class {label}"
            heights[members] = self._ascend(points, data, source, generator, told if progress else None)
        fitted = SemiDiscretePairs(data=data, heights=heights, y=y, source=source)
        spent = self.steps * (4096 if self.batch is None else self.batch)
        violation = fitted.measure(min(max(spent // 10, 4096), 200_000), generator=generator)
        if violation.chi_square > _POOR:
            warnings.warn(
                f"the coupling uses {violation.effective:.0%} of the data evenly (chi² {violation.chi_square:.2f}): "
                f"raise steps={self.steps} or batch",
                stacklevel=2,
            )
        return SemiDiscretePairs(data=data, heights=heights, y=y, source=source, violation=violation)

    def _ascend(
        self, points: Tensor, data: Tensor, source: Tensor | None, generator: torch.Generator | None, told: str | None
    ) -> Tensor:
        n = len(points)
        heights, mean, weight = points.new_zeros(n), points.new_zeros(n), 0.0
        if n == 1:
            return heights
        batch = min(max(n // 2, 256), 4096) if self.batch is None else self.batch
        smooth = max(1, round(_SMOOTH * self.steps))
        first = gap = 0.0
        for step in bar(range(self.steps), told is not None, told or ""):
            x_0 = draw_source(batch, data, source, generator).flatten(1)
            if step == 0:
                first = max(_FIRST * float((x_0[:256] @ points.T).std()), 1e-30)
            if step % _LOOK == 0 or step == smooth:
                best = torch.addmm(heights, x_0[:256], points.T).topk(2, dim=1).values
                gap = max(float((best[:, 0] - best[:, 1]).median()), 1e-12 * first, 1e-30)
            if step < smooth:
                temperature = first * (gap / first) ** (step / smooth)
                share = _shares(x_0, points, heights, temperature)
                # below its share a point rises by at most the temperature: one that nobody chose has log 0
                heights -= temperature * torch.where(share > 1.0, share.clamp_min(1.0).log(), share - 1.0)
            else:
                late = step - smooth + 1.0
                length = gap * min(1.0, batch / n) / math.sqrt(late)
                heights -= length * (_shares(x_0, points, heights, None) - 1.0)
                weight += late
                mean += (heights - mean) * (late / weight)
            heights -= heights.mean()
        return mean


def _shares(x_0: Tensor, points: Tensor, heights: Tensor, temperature: float | None) -> Tensor:
    """N p_i over the batch, softened by ``temperature`` or not, in blocks of bounded memory."""
    n = len(points)
    total = heights.new_zeros(n)
    for part in x_0.split(max(1, BLOCK // n)):
        values = torch.addmm(heights, part, points.T)
        if temperature is None:
            total += torch.bincount(values.argmax(1), minlength=n)
        else:
            total += torch.softmax(values.div_(temperature), dim=1).sum(0)
    return total.mul_(n / len(x_0))


def check_set(data: Tensor, y: Tensor | None, source: Tensor | None) -> None:
    """Refuse what no whole set can be coupled from."""
    check_state(data, "data")
    if len(data) == 0 or not bool(torch.isfinite(data).all()):
        raise ValueError(f"data must hold finite points, got shape {tuple(data.shape)} with NaN, infinity or nothing")
    if y is not None and (y.ndim != 1 or y.is_floating_point() or len(y) != len(data)):
        raise ValueError(f"y must be integer labels of shape ({len(data)},), got {y.dtype} of shape {tuple(y.shape)}")
    if source is not None:
        check_state(source, "source")
        if source.shape[1:] != data.shape[1:] or len(source) == 0 or source.dtype != data.dtype:
            raise ValueError(
                f"source must hold points like data, {tuple(data.shape[1:])} {data.dtype}, "
                f"got shape {tuple(source.shape)} {source.dtype}"
            )
        if not bool(torch.isfinite(source).all()):
            raise ValueError("source has NaN or infinity: remove or fill those points")


def bar(items: Sequence[T], progress: bool, label: str) -> Iterable[T]:
    """``items`` behind a progress bar if one is asked for."""
    if not progress:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, leave=False)


def semidiscrete(*, steps: int = 600, batch: int | None = None) -> SemiDiscrete:
    """Semi-discrete optimal transport of the source to a whole data set; see `SemiDiscrete`."""
    return SemiDiscrete(steps=steps, batch=batch)
