"""Bits per dimension of quantised data (theory T7)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_state, working_dtype
from pathline.field import BaseField
from pathline.likelihood.density import log_prob


@dataclass(frozen=True, kw_only=True)
class BitsPerDim:
    """Bits per dimension of quantised data: an upper bound that holds on average over the dequantising noise."""

    per_sample: Tensor
    """(B,), averaged over the draws."""
    draw_std: Tensor | None
    """(B,), standard deviation between the draws of one sample (dequantisation and random directions); None for one draw."""

    @property
    def mean(self) -> float:
        """Average over the samples."""
        return float(self.per_sample.double().mean())

    @property
    def error(self) -> float:
        """Standard error of the mean, from samples and draws together; nan for one sample."""
        return float(self.per_sample.double().std() / math.sqrt(len(self.per_sample)))


def bits_per_dim(
    field: BaseField,
    x_1: Tensor,
    *,
    levels: int,
    low: float | Tensor = -1.0,
    high: float | Tensor = 1.0,
    draws: int = 1,
    generator: torch.Generator | None = None,
    **options: Any,
) -> BitsPerDim:
    """Bits per dimension of data on ``levels`` equal steps from ``low`` to ``high``: 256 for 8-bit images, 17 for digits.

    Each value is spread uniformly over its cell of width delta = (high - low)/(levels - 1), z = x + delta (u - 1/2), and
    -(log2 p(z) + D log2 delta)/D averaged over ``draws``: unbiased for E_u, which bounds -log2 P(x)/D from above (Jensen; Theis et al.
    2016). ``low`` and ``high`` may be tensors that broadcast over a sample, where dimensions have scales of their own. ``options``
    are those of `log_prob`, conditions included. Raises ValueError for values between the levels.
    """
    check_state(x_1, "x_1")
    bottom, top = (torch.as_tensor(end, dtype=torch.float64, device=x_1.device) for end in (low, high))
    if not (isinstance(levels, int) and levels >= 2 and bool((top > bottom).all()) and draws >= 1):
        raise ValueError(f"need levels >= 2, low < high and draws >= 1, got {levels}, {low}, {high} and {draws}")
    delta = (top - bottom) / (levels - 1)
    place = (x_1.double() - bottom) / delta
    off = (place - place.round()).abs().max().item()
    if off > 1e-2 or place.min().item() < -0.5 or place.max().item() > levels - 0.5:
        raise ValueError(
            f"x_1 must lie on {levels} levels from {bottom.min():g} to {top.max():g}, got values from {x_1.min().item():g} to "
            f"{x_1.max().item():g}, up to {off:.2g} of a step between levels: give levels=, low= and high= of the data"
        )
    if options.get("divergence", "exact") != "exact" and "seeds" not in options:
        options["generator"] = generator
    size = x_1[0].numel()
    cell = float(torch.log2(delta).expand(x_1.shape[1:]).mean())
    width = delta.to(working_dtype(x_1))
    bits = []
    for _ in range(draws):
        u = torch.rand(x_1.shape, generator=generator, dtype=working_dtype(x_1), device=x_1.device)
        nats = log_prob(field, x_1 + width * (u - 0.5), **options)
        bits.append(-(nats / (size * math.log(2.0)) + cell))
    stacked = torch.stack(bits)
    return BitsPerDim(per_sample=stacked.mean(0), draw_std=stacked.std(0) if draws > 1 else None)
