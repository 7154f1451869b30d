"""Couplings: which source point goes to which data point (theory T27-T30)."""

from typing import Protocol

import torch
from torch import Tensor


class Coupling(Protocol):
    """(x_0, x_1, y, generator) -> indices into the source: data point i is paired with x_0[indices[i]].

    A coupling returns indices, not points, so that data, labels and conditions stay in their order. Each source
    point is used exactly once: the indices are a permutation.
    """

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Indices, int64 of shape (B,) on the device of x_0."""
        ...
