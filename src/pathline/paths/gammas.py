"""How much noise of its own a bridge carries at the time t: gamma_t and its derivative (theory T29)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pathline._typing import Scalar

SHAPE_FLOOR = 1e-2
"""Where gamma vanishes like a square root, gamma' divides by at least this much of its scale: only |t - end| < 1e-4 sees it."""


class Gamma(ABC):
    """t -> (gamma_t, gamma'_t), elementwise on a tensor of times in [0, 1] of any shape."""

    @abstractmethod
    def __call__(self, t: Tensor) -> tuple[Scalar, Scalar]:
        """gamma and its derivative at ``t``."""


def _check(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(
            f"{name} must be positive and finite, got {value}: a path without noise of its own is an AffinePath"
        )


@dataclass(frozen=True)
class Constant(Gamma):
    """gamma = ``sigma_min`` all along: independent conditional flow matching (Tong et al. 2024, eq. 14)."""

    sigma_min: float = 0.1

    def __post_init__(self) -> None:
        _check("sigma_min", self.sigma_min)

    def __call__(self, t: Tensor) -> tuple[Scalar, Scalar]:
        return self.sigma_min, 0.0


@dataclass(frozen=True)
class Brownian(Gamma):
    """gamma = s sqrt(t (1 - t)), a Brownian bridge of diffusion s = ``scale``: the Schrödinger-bridge path.

    With pairs of the entropic coupling at regularisation 2 s² its marginals are those of the Schrödinger bridge
    (Tong et al. 2024, [SF]2M, eq. 6). The diffusion of the bridge itself is eta = s²/2.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check("scale", self.scale)

    def __call__(self, t: Tensor) -> tuple[Scalar, Scalar]:
        root = torch.sqrt((t * (1.0 - t)).clamp(min=0.0))
        return self.scale * root, self.scale * (0.5 - t) / root.clamp(min=SHAPE_FLOOR)


@dataclass(frozen=True)
class Sine(Gamma):
    """gamma = s sin²(pi t), smooth at both ends: the velocity of z is bounded (Albergo et al. 2023, stochastic interpolants)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check("scale", self.scale)

    def __call__(self, t: Tensor) -> tuple[Scalar, Scalar]:
        gamma = self.scale * torch.sin(math.pi * t) ** 2
        return gamma, self.scale * math.pi * torch.sin(2.0 * math.pi * t)


GAMMAS: dict[str, Callable[..., Gamma]] = {"constant": Constant, "brownian": Brownian, "sine": Sine}
"""Noises of a bridge by the name that configurations use."""
