"""Weights of the loss over time. Each is stated in the space in which it was published (theory T18)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pathline.predictions import DATA, NOISE, Prediction
from pathline.schedules import Coefs


def _snr(c: Coefs) -> Tensor:
    return (torch.as_tensor(c.alpha) / torch.as_tensor(c.sigma).clamp(min=1e-4)) ** 2


@dataclass(frozen=True)
class Weight:
    """w(t) on the squared error in ``space``; `Matching` carries it over to whatever the network predicts."""

    of: Callable[[Coefs], Tensor]
    space: Prediction
    name: str

    def __repr__(self) -> str:
        return f"weights.{self.name}"


def edm(sigma_data: float = 0.5) -> Weight:
    """(r² + s²)/(r s)² on the data error, r = sigma/alpha, s = ``sigma_data`` (Karras et al. 2022, table 1)."""
    if not sigma_data > 0.0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")
    return Weight(lambda c: _snr(c) + sigma_data**-2, DATA, f"edm({sigma_data:g})")


def min_snr(gamma: float = 5.0) -> Weight:
    """min(SNR, gamma) on the data error (Hang et al. 2023)."""
    if not gamma > 0.0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    return Weight(lambda c: _snr(c).clamp(max=gamma), DATA, f"min_snr({gamma:g})")


def sigmoid(bias: float = -1.0) -> Weight:
    """sigmoid(bias - log SNR) on the noise error (Kingma and Gao 2023), SNR = alpha²/sigma²."""
    return Weight(lambda c: torch.sigmoid(bias - torch.log(_snr(c))), NOISE, f"sigmoid({bias:g})")


def inverse_variance(clip: float = 0.05) -> Weight:
    """1/max(sigma, clip)² on the data error: on the linear path, velocity loss for data prediction (T18)."""
    if not clip > 0.0:
        raise ValueError(f"clip must be positive, got {clip}")
    return Weight(lambda c: torch.as_tensor(c.sigma).clamp(min=clip) ** -2, DATA, f"inverse_variance({clip:g})")


WEIGHTS: dict[str, Callable[..., Weight]] = {
    "edm": edm,
    "min_snr": min_snr,
    "sigmoid": sigmoid,
    "inverse_variance": inverse_variance,
}
"""Weights by the name that configurations use; no weight is uniform."""
