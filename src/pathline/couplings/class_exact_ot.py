"""Optimal pairing that leaves p(x_0 | y) as it is: within each class (theory T30)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pathline.couplings.base import flat_pair
from pathline.couplings.exact_ot import optimal


@dataclass(frozen=True)
class ClassExactOT:
    """The optimal pairing among the permutations that stay within a class: sum |x_0[pi(i)] − x_1[i]|², y[pi(i)] = y[i].

    The source point in row i belongs to class y[i]. Source points are drawn without looking at the labels, so each
    class gets a fair sample of the source, and p(x_0 | y) = p(x_0). Plain `exact_ot` gives a class the source points
    that lie nearest to it, and a model trained so is sampled, given y, from source points it has not seen.
    """

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        x_0, x_1 = flat_pair(x_0, x_1)
        y = check_labels(y, x_1)
        indices = torch.arange(len(x_0), device=x_0.device)
        for label in y.unique():
            rows = (y == label).nonzero().flatten()
            if len(rows) > 1:
                indices[rows] = rows[optimal(x_0[rows], x_1[rows])]
        return indices


def check_labels(y: Tensor | None, x_1: Tensor) -> Tensor:
    """Integer labels (B,) on the device of ``x_1``, or an error that says what to use instead."""
    if y is None:
        raise ValueError("class_exact_ot pairs within classes and needs labels y (B,): use exact_ot() for data without")
    if y.is_floating_point() or y.ndim != 1:
        raise TypeError(
            f"class_exact_ot needs integer labels y of shape ({len(x_1)},), got {y.dtype} of shape {tuple(y.shape)}: "
            "use conditional_ot() for vectors"
        )
    if len(y) != len(x_1):
        raise ValueError(f"y must have one label per data point, {len(x_1)}, got {len(y)}")
    return y.to(x_1.device)


def class_exact_ot() -> ClassExactOT:
    """Exact optimal transport within each class of the batch."""
    return ClassExactOT()
