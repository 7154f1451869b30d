"""Pseudo-inverse guidance (Song et al. 2023, ICLR; for flows Pokle et al. 2024, arXiv 2310.04432)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pathline.control.base import Posterior
from pathline.schedules import Coefs

SHARPEST = 1e-3
"""The least sigma that the inverse is taken at: below it, b_t = 0 switches the pull off where nothing is noisy."""


@dataclass(frozen=True)
class PiGDM(Posterior):
    """p(x_1 | x_t) taken for N(D, r² I) with r² = s² sigma²/(alpha² s² + sigma²): the score moves by J^T A^T (r² A A^T + std²)^{-1} (y - A D).

    Exact for data N(m, s² I), s = ``data_std``; elsewhere a spread that knows nothing of the data's shape. With std = 0 and s -> infinity this
    is the pseudo-inverse of its name. Take an Euler or multistep solver where std = 0: the pull is infinite at t = 1.
    """

    data_std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {self.data_std}")

    def shift(self, data: Tensor, pull: Callable[[Tensor], Tensor], coefs: Coefs, y: Tensor) -> Tensor:
        square, noise = self.data_std**2, coefs.sigma.clamp(min=SHARPEST) ** 2  # pyright: ignore[reportAttributeAccessIssue]
        spread = square * noise / (coefs.alpha**2 * square + noise)
        seen = self.observation
        return pull(seen.operator.adjoint(seen.operator.solve(seen.residual(data, y), spread, seen.std**2)))
