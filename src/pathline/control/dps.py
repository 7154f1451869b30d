"""Diffusion posterior sampling (Chung et al. 2023, arXiv 2209.14687)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pathline.control.base import Posterior
from pathline.guidance.branches import inner
from pathline.predictions import SCORE, VELOCITY, Prediction
from pathline.schedules import Coefs


@dataclass(frozen=True)
class DPS(Posterior):
    """p(y | x_t) taken for N(y; A D(x_t), std²): the score moves by J^T A^T r/std² with r = y - A D, J = dD/dx_t (eq. 16 there).

    That is stiff where std is small. The published algorithm replaces 1/std² by a step size: with ``rate`` the velocity, not the score,
    moves by ``rate`` J^T A^T r/|r|, the norm taken of each sample on its own. ``rate`` is the paper's zeta' (0.3 to 1) per step times the number
    of steps; near the end the sample jumps about y by rate x step.
    """

    rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is None and self.observation.std == 0.0:
            raise ValueError(
                "DPS divides by std², which is 0: give rate= (the step size of the paper), or the observation a std"
            )
        if self.rate is not None and not self.rate > 0.0:
            raise ValueError(f"rate must be positive, got {self.rate}")

    @property
    def space(self) -> Prediction:
        return SCORE if self.rate is None else VELOCITY

    def shift(self, data: Tensor, pull: Callable[[Tensor], Tensor], coefs: Coefs, y: Tensor) -> Tensor:
        residual = self.observation.residual(data, y)
        if self.rate is None:
            return pull(self.observation.operator.adjoint(residual / self.observation.std**2))
        length = inner(residual, residual).clamp(min=1e-20).sqrt()
        return self.rate * pull(self.observation.operator.adjoint(residual / length))
