"""Flower: a draw of the data given x_t and y, noised anew (Pourya et al. 2025, arXiv 2509.26287)."""

from dataclasses import dataclass

from torch import Tensor

from pathline.control.stepping import Draw, PosteriorStep
from pathline.paths.base import Estimate
from pathline.schedules import Coefs


@dataclass(frozen=True)
class Flower(PosteriorStep):
    """x_1' ~ p(x_1 | x_t, y) with p(x_1 | x_t) taken for N(D, r² I), r² = s² sigma²/(alpha² s² + sigma²), and x_0' a new draw of noise.

    The draw is exact: D' = D + r z, y' = y - std n, x_1' = D' + r² A^T (r² A A^T + std²)^{-1} (y' - A D'). If p(x_1 | x_t) were exact, so would be
    every marginal p(x_s | y): the chain samples the posterior for data N(m, s² I), s = ``data_std``, in any number of steps.
    """

    def ends(self, estimate: Estimate, here: Coefs, there: Coefs, draw: Draw) -> tuple[Tensor, Tensor]:
        seen, square, data = self.observation, self.data_std**2, estimate.data
        spread = square * here.sigma**2 / (here.alpha**2 * square + here.sigma**2)
        drawn = data + spread**0.5 * draw(data)
        y = seen.y.to(data).expand(len(data), *seen.y.shape[1:])
        residual = seen.residual(drawn, y - seen.std * draw(y))
        move = seen.operator.adjoint(seen.operator.solve(residual, 1.0, seen.std**2 / spread))
        return drawn + move, draw(data)
