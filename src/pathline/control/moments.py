"""Moment matching: the spread of x_1 given x_t from the network's own Jacobian.

Boys et al. 2023 (arXiv 2310.06721), with the conjugate gradients of Rozet et al. 2024 (arXiv 2405.13712).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pathline.control.base import Posterior
from pathline.control.operators import conjugate_gradients, fit
from pathline.control.pigdm import SHARPEST
from pathline.schedules import Coefs


@dataclass(frozen=True)
class MomentMatching(Posterior):
    """p(x_1 | x_t) taken for N(D, V) with its exact covariance V = (sigma²/alpha) J: the score moves by J^T A^T (A V A^T + std²)^{-1} (y - A D).

    V follows from Tweedie's formula, J = dD/dx_t is symmetric for an exact field. ``iterations`` of conjugate gradients, one pull-back each,
    solve the system, from zero; as many as there are distinct eigenvalues solve it exactly. Exact for any Gaussian data.
    """

    iterations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(f"iterations must be a positive integer, got {self.iterations!r}")

    def shift(self, data: Tensor, pull: Callable[[Tensor], Tensor], coefs: Coefs, y: Tensor) -> Tensor:
        seen, operator = self.observation, self.observation.operator
        ratio = coefs.sigma.clamp(min=SHARPEST) ** 2 / coefs.alpha  # pyright: ignore[reportAttributeAccessIssue]

        def spread(v: Tensor) -> Tensor:
            return fit(ratio, v) * operator(pull(operator.adjoint(v))) + seen.std**2 * v

        v = conjugate_gradients(spread, seen.residual(data, y), self.iterations, least=seen.std**2)
        return pull(operator.adjoint(v))
