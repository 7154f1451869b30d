"""Independent parts side by side: the flow of a product is the product of the flows (theory T16)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_time
from pathline.predictions import DATA, VELOCITY
from pathline.testing.oracles.base import ExactEstimate, Oracle


class Product(Oracle):
    """Data p(x) = prod_i p_i(x_i): states are flat, (B, D_1 + D_2 + ...), all parts on one path; no conditions."""

    def __init__(self, *parts: Oracle) -> None:
        if len(parts) < 2:
            raise ValueError(f"parts must be at least two oracles, got {len(parts)}")
        for part in parts:
            if part.path != parts[0].path:
                raise ValueError(f"parts must share one path, got {part.path} and {parts[0].path}")
        self.parts, self.path = parts, parts[0].path
        self.prediction = DATA if any(part.prediction is DATA for part in parts) else VELOCITY
        self.sizes = [part.shape.numel() for part in parts]
        self.shape = torch.Size([sum(self.sizes)])

    def _each(self, x: Tensor, call: Callable[[Oracle, Tensor], Tensor]) -> list[Tensor]:
        self._flat(x)  # checks the shape
        pieces = x.split(self.sizes, dim=1)
        return [call(part, piece.reshape(-1, *part.shape)) for part, piece in zip(self.parts, pieces, strict=True)]

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> ExactEstimate:
        def readings(part: Oracle, piece: Tensor) -> Tensor:
            estimate = part.evaluate(piece, t)
            return torch.stack([estimate.data, -estimate.score]).flatten(2)

        data, pull = torch.cat(self._each(x_t, readings), dim=2)
        return ExactEstimate(self, x_t, t, data, self._flat_coefs(t, self._flat(x_t))[1], pull)

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, **cond: Any) -> Tensor:
        t = check_time(t, x)
        return torch.stack(self._each(x, lambda part, piece: part.log_prob(piece, t))).sum(0)

    def posterior_variance(self, x: Tensor, t: "Tensor | float", **cond: Any) -> Tensor:
        t = check_time(t, x)
        return torch.stack(self._each(x, lambda part, piece: part.posterior_variance(piece, t))).sum(0)

    def sample_data(self, n: int, generator: torch.Generator | None = None, **cond: Any) -> Tensor:
        return torch.cat([part.sample_data(n, generator).flatten(1) for part in self.parts], dim=1)


def product(*parts: Oracle) -> Product:
    """The exact field of independent ``parts``, concatenated flat in their order."""
    return Product(*parts)
