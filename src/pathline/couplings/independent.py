"""q(x_0) q(x_1): the pairing of two shuffled sets (theory T27)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Independent:
    """Pair as drawn: independent draws stay independent."""

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.arange(len(x_0), device=x_0.device)


def independent() -> Independent:
    """The independent coupling."""
    return Independent()
