"""Guidance scales that change with time: functions t -> w, for the ``weight`` of any method (theory T34).

A scale is any function of the times t, () or (B,); these are the ones of the literature. All are 1 (no guidance) where they say so, and
``peak`` at most.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """w(t) = start + (end - start) t (Wang et al. 2024, arXiv 2404.13040: a rising scale)."""

    start: float
    end: float

    def __call__(self, t: Tensor) -> Tensor:
        return self.start + (self.end - self.start) * t


@dataclass(frozen=True)
class Cosine:
    """w(t) = 1 + (peak - 1)(1 - cos(pi t^power))/2, from 1 at noise to ``peak`` at data (Gao et al. 2023, arXiv 2303.14389)."""

    peak: float
    power: float = 1.0

    def __post_init__(self) -> None:
        if not self.power > 0.0:
            raise ValueError(f"power must be positive, got {self.power}")

    def __call__(self, t: Tensor) -> Tensor:
        return 1.0 + (self.peak - 1.0) * 0.5 * (1.0 - torch.cos(math.pi * t**self.power))


@dataclass(frozen=True)
class Bump:
    """w(t) = 1 + (peak - 1) b(t)/max b with b the density of Beta(a, b): 1 at both ends, ``peak`` at t = (a - 1)/(a + b - 2)."""

    peak: float
    a: float = 2.0
    b: float = 2.0

    def __post_init__(self) -> None:
        if not (self.a > 1.0 and self.b > 1.0):
            raise ValueError(f"a and b must be greater than 1 for a bump between the ends, got {self.a} and {self.b}")

    def __call__(self, t: Tensor) -> Tensor:
        top = (self.a - 1.0) / (self.a + self.b - 2.0)
        shape = (t / top) ** (self.a - 1.0) * ((1.0 - t) / (1.0 - top)) ** (self.b - 1.0)
        return 1.0 + (self.peak - 1.0) * shape


@dataclass(frozen=True)
class Between:
    """w(t) = peak for start <= t <= stop, 1 elsewhere. `Interval` does the same and spares the second branch outside."""

    peak: float
    start: float = 0.2
    stop: float = 0.8

    def __call__(self, t: Tensor) -> Tensor:
        return torch.where((t >= self.start) & (t <= self.stop), self.peak, 1.0)


SCALES: dict[str, Callable[..., Callable[[Tensor], Tensor]]] = {
    "linear": Linear,
    "cosine": Cosine,
    "bump": Bump,
    "between": Between,
}
"""Scales by the name that configurations use."""
