"""Flow-driven posterior sampling (Kim et al. 2025, arXiv 2503.08136)."""

from dataclasses import dataclass

from torch import Tensor

from pathline.control.stepping import Draw, PosteriorStep
from pathline.paths.base import Estimate
from pathline.schedules import Coefs


@dataclass(frozen=True)
class FlowDPS(PosteriorStep):
    """x_1' = D + sigma_t A^T (A A^T + std²/s²)^{-1} (y - A D), x_0' = sqrt(sigma_s) E + sqrt(1 - sigma_s) z (algorithm 1 there).

    The data estimate moves towards the nearest one that fits y, the share of that move being sigma_t (at most 1), and part of the noise is
    drawn anew. The paper moves by a few gradient steps through a decoder; for a linear A of states this is their limit, with
    s = ``data_std``.
    """

    def ends(self, estimate: Estimate, here: Coefs, there: Coefs, draw: Draw) -> tuple[Tensor, Tensor]:
        seen, data, noise = self.observation, estimate.data, estimate.noise
        move = seen.operator.adjoint(seen.operator.solve(seen.residual(data), 1.0, (seen.std / self.data_std) ** 2))
        keep, share = (c.sigma.clamp(max=1.0) for c in (there, here))  # pyright: ignore[reportAttributeAccessIssue]
        return data + share * move, keep.sqrt() * noise + (1.0 - keep).sqrt() * draw(noise)
