"""Optimal pairing that sees the condition (theory T30; C2OT, Cheng and Schwing 2025, arXiv 2503.10636)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pathline.couplings.assignment import assign
from pathline.couplings.base import flat_pair
from pathline.couplings.class_exact_ot import ClassExactOT

ConditionCost = Literal["l2", "cosine"]


@dataclass(frozen=True, kw_only=True)
class ConditionalOT:
    """The permutation that minimises sum_i |x_0[pi(i)] − x_1[i]|² + w c(y[pi(i)], y[i]).

    The source point in row i is drawn with the condition y[i] (an independent draw, as the source does not look at the
    conditions); carrying it to a data point of another condition costs w c. For w → ∞ points move only between equal
    conditions and p(x_0 | y) = p(x_0), for w = 0 the pairing is `exact_ot`, which skews it. In between, ``ratio`` r
    says how many candidates a data point may choose from: w is such that

        share over (i, j) of { |x_0_j − x_1_i|² + w c(y_j, y_i) <= |x_0_i − x_1_i|² } = r,

    solved exactly for each batch (w is a quantile of the ratios of the two costs). Integer labels pair within the
    class unless ``weight`` is given; then c = 1 between different labels.

    Attributes:
        ratio: r in (0, 1]; smaller leaves p(x_0 | y) fairer, larger gives straighter paths. Unused with ``weight``.
        weight: w itself, in squared units of x over the unit of c.
        cost: between vectors y (B,) or (B, C): ``"l2"`` |y − y'|², or ``"cosine"`` 1 − cos(y, y').
    """

    ratio: float = 0.05
    weight: float | None = None
    cost: ConditionCost = "l2"

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError(f"ratio must lie in (0, 1], the share of pairs that stay candidates, got {self.ratio}")
        if self.weight is not None and not (self.weight >= 0.0 and math.isfinite(self.weight)):
            raise ValueError(f"weight must be a finite number, at least 0, got {self.weight}")
        if self.cost not in ("l2", "cosine"):
            raise ValueError(f"cost must be 'l2' or 'cosine', got {self.cost!r}")

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        if y is not None and not y.is_floating_point() and self.weight is None:
            return ClassExactOT()(x_0, x_1, y)
        distance, between = self.costs(x_0, x_1, y)
        weight = weight_of_ratio(distance, between, self.ratio) if self.weight is None else self.weight
        return assign(distance.add_(between, alpha=weight), overwrite=True)

    def costs(self, x_0: Tensor, x_1: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """|x_0_j − x_1_i|² and c(y_j, y_i), both (B, B) with the source in rows."""
        x_0, x_1 = flat_pair(x_0, x_1)
        if y is None:
            raise ValueError("conditional_ot needs conditions y: labels (B,) or vectors (B, C); use exact_ot() without")
        if len(y) != len(x_1):
            raise ValueError(f"y must have one condition per data point, {len(x_1)}, got shape {tuple(y.shape)}")
        y = y.detach().to(x_1.device).reshape(len(y), -1)
        if y.is_floating_point() and not bool(torch.isfinite(y).all()):
            raise ValueError("y has NaN or infinity: couple before conditions are dropped, and fill what is missing")
        if not y.is_floating_point():
            between = (y[:, None] != y).any(-1).to(x_1.dtype)
        elif self.cost == "cosine":
            unit = torch.nn.functional.normalize(y.to(x_1.dtype), dim=1)
            between = 1.0 - unit @ unit.T
        else:
            between = squared_distances(y.to(x_1.dtype), y.to(x_1.dtype))
        centre = x_1.mean(0)
        return squared_distances(x_0 - centre, x_1 - centre), between.clamp_min_(0.0).fill_diagonal_(0.0)

    def found_weight(self, x_0: Tensor, x_1: Tensor, y: Tensor) -> float:
        """The weight w that this batch is paired with; infinite where labels pair within the class."""
        if self.weight is not None:
            return self.weight
        return weight_of_ratio(*self.costs(x_0, x_1, y), self.ratio) if y.is_floating_point() else math.inf


def weight_of_ratio(distance: Tensor, between: Tensor, ratio: float) -> float:
    """The weight w for which a share ``ratio`` of distance + w between is at most the diagonal of its column.

    (i, j) stays below while w <= (distance_jj − distance_ij)/between_ij =: q_ij, so w is the quantile 1 − ratio of q.
    It is 0 where fewer pairs than that are closer than the drawn one even without the condition, and just above
    the largest finite q where pairs of equal condition fill the share alone.
    """
    count = distance.numel()
    gain = distance.diagonal() - distance
    q = torch.where(gain >= 0.0, gain / between, -1.0)  # 0/0, the diagonal, is always a candidate
    q = torch.where((gain >= 0.0) & (between == 0.0), math.inf, q).flatten()
    keep = max(1, math.floor(ratio * count))
    found = float(q.kthvalue(count - keep + 1).values)
    if math.isfinite(found):
        return max(0.0, found)
    finite = q[torch.isfinite(q)]
    return 1.001 * max(0.0, float(finite.max())) if len(finite) else 0.0


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i − y_j|², (n, m), through one matrix product; centre the points first."""
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2.0).clamp_min_(0.0)


def conditional_ot(ratio: float = 0.05, *, weight: float | None = None, cost: ConditionCost = "l2") -> ConditionalOT:
    """Optimal transport with a cost of the condition, for labels and for vectors."""
    return ConditionalOT(ratio=ratio, weight=weight, cost=cost)
