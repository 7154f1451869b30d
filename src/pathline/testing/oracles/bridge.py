"""Bridges between Gaussians and between mixtures of them, in closed form (theory T29)."""

from typing import Any

import torch
from torch import Tensor

from pathline._draws import chosen, normal
from pathline._shapes import check_time
from pathline.field import BaseField
from pathline.paths.base import Estimate
from pathline.paths.bridge import LATENT, BridgeEstimate, BridgePath, combine_three, row_of, two_heads
from pathline.predictions import DATA, NOISE, VELOCITY, Prediction
from pathline.testing.oracles.base import LOG_2PI


class ExactBridgeEstimate(BridgeEstimate):
    """Posterior means of x_1, x_0 and z: every prediction is a combination of them."""

    __slots__ = ("_means",)

    def __init__(self, path: BridgePath, x_t: Tensor, t: Tensor, means: tuple[Tensor, Tensor, Tensor]) -> None:
        self._means = means
        super().__init__(path, x_t, t, two_heads(VELOCITY, LATENT), x_t)
        self.value = torch.stack([self.read(VELOCITY), self.read(LATENT)], 1)

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is self.prediction:
            return self.value
        places = {DATA: 0, NOISE: 1, LATENT: 2}
        if prediction in places:
            return self._means[places[prediction]]
        return combine_three(row_of(prediction, self._path.coefs(self.t, self.x_t)), *self._means)


class JointGaussians(BaseField):
    """The exact field of a bridge between pairs (x_1, x_0) ~ sum_k w_k N((m1_k, m0_k), C_k), states of shape (D,).

    Given the component, (x_1, x_0, z) and x_t = alpha x_1 + sigma x_0 + gamma z are jointly Gaussian, so that every
    posterior mean is linear in x_t, and the components mix by their posterior probability.
    """

    def __init__(
        self, means_1: Tensor, means_0: Tensor, covs: Tensor, weights: Tensor | None, path: BridgePath
    ) -> None:
        count, size = means_1.shape
        if means_0.shape != means_1.shape or covs.shape != (count, 2 * size, 2 * size):
            raise ValueError(
                f"means must both have shape (K, D) and covs (K, 2 D, 2 D), got {tuple(means_1.shape)}, "
                f"{tuple(means_0.shape)} and {tuple(covs.shape)}"
            )
        self.path, self.prediction, self.shape = path, two_heads(VELOCITY, LATENT), torch.Size((size,))
        self.means_1, self.means_0, self.covs = means_1, means_0, covs
        weights = means_1.new_ones(count) if weights is None else weights
        self.weights = weights / weights.sum()

    def _condition(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Any]:
        """(residuals S^-1 (x - mean) (B, K, D), log joint (B, K), cross covariances of (x_1, x_0) with x_t, coefs)."""
        size = len(self.shape) and self.shape[0]
        c = self.path.coefs(t.expand(len(x)) if t.ndim == 0 else t, x)
        a, b, g = (torch.as_tensor(v, dtype=x.dtype).expand(len(x), 1).reshape(-1, 1, 1, 1) for v in c[:3])
        covs = self.covs.to(x)
        top, bottom = covs[:, :size], covs[:, size:]
        cross = torch.stack(
            [a * top[..., :size] + b * top[..., size:], a * bottom[..., :size] + b * bottom[..., size:]]
        )
        eye = torch.eye(size, dtype=x.dtype)
        total = a * cross[0] + b * cross[1] + g**2 * eye  # covariance of x_t, (B, K, D, D)
        mean = a[..., 0] * self.means_1.to(x) + b[..., 0] * self.means_0.to(x)
        factor = torch.linalg.cholesky(total)
        off = (x[:, None] - mean)[..., None]
        pulled = torch.cholesky_solve(off, factor)[..., 0]
        log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        joint = self.weights.to(x).log() - 0.5 * ((off[..., 0] * pulled).sum(-1) + log_det + size * LOG_2PI)
        return pulled, joint, cross, c

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        x = x_t.double()
        pulled, joint, cross, c = self._condition(x, t.double())
        share = torch.softmax(joint, 1)[..., None]
        ends = [
            (share * (m.to(x) + torch.einsum("bkij,bkj->bki", k, pulled))).sum(1)
            for m, k in zip((self.means_1, self.means_0), cross, strict=True)
        ]
        latent = torch.as_tensor(c.gamma, dtype=x.dtype) * (share * pulled).sum(1)
        return ExactBridgeEstimate(self.path, x_t, t, (ends[0].to(x_t), ends[1].to(x_t), latent.to(x_t)))

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0) -> Tensor:
        """log p_t(x), shape (B,), nats."""
        return torch.logsumexp(self._condition(x.double(), check_time(t, x).double())[1], 1).to(x)

    def pairs(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws of (x_0, x_1), each (n, D)."""
        component = chosen(self.weights, n, generator)
        size = self.shape[0]
        values, axes = torch.linalg.eigh(self.covs)
        noise = normal((n, 2 * size), generator, self.covs)
        both = torch.einsum("nij,nj->ni", axes[component], values.clamp(min=0.0).sqrt()[component] * noise)
        return self.means_0[component] + both[:, size:], self.means_1[component] + both[:, :size]

    def sample(self, n: int, t: "Tensor | float" = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """n exact draws from p_t, shape (n, D)."""
        x_0, x_1 = self.pairs(n, generator)
        return self.path.sample(x_0, x_1, check_time(t, x_1), generator=generator)


def _power(matrix: Tensor, power: float) -> Tensor:
    values, axes = torch.linalg.eigh(matrix)
    return (axes * values.clamp(min=0.0) ** power) @ axes.mT


def gaussian_bridge(mean_0: Tensor, cov_0: Tensor, mean_1: Tensor, cov_1: Tensor, path: BridgePath) -> JointGaussians:
    """The Schrödinger bridge between N(a, A) and N(b, B) for Brownian motion of diffusion s, ``path.gamma.scale``.

    Its pairs are Gaussian with cov(x_0, x_1) = (A^1/2 D A^-1/2 - s² I)/2, D = (4 A^1/2 B A^1/2 + s⁴ I)^1/2
    (Bunne et al. 2023, eq. 8); for A = B = I the variance at t is t(1 - t) sqrt(4 + s⁴) + (1 - t)² + t².
    """
    from pathline.paths.gammas import Brownian

    if not isinstance(path.gamma, Brownian):
        raise ValueError(f"a Schrödinger bridge has Brownian noise: use schrodinger_bridge(s), got {path!r}")
    s2, eye = path.gamma.scale**2, torch.eye(len(mean_0), dtype=mean_0.dtype)
    root = _power(cov_0, 0.5)
    inner = _power(4.0 * root @ cov_1 @ root + s2**2 * eye, 0.5)
    across = 0.5 * (root @ inner @ _power(cov_0, -0.5) - s2 * eye)  # cov(x_0, x_1)
    joint = torch.cat([torch.cat([cov_1, across.mT], 1), torch.cat([across, cov_0], 1)])
    return JointGaussians(mean_1[None], mean_0[None], joint[None], None, path)


def mixture_bridge(
    means_0: Tensor, covs_0: Tensor, means_1: Tensor, covs_1: Tensor, path: BridgePath
) -> JointGaussians:
    """The bridge between two mixtures of equal weights, paired independently: means (K, D), covs (K, D, D)."""
    size = means_0.shape[1]
    first, second = len(means_0), len(means_1)
    covs = covs_0.new_zeros(first * second, 2 * size, 2 * size)
    covs[:, :size, :size] = covs_1.repeat(first, 1, 1)
    covs[:, size:, size:] = covs_0.repeat_interleave(second, 0)
    return JointGaussians(means_1.repeat(first, 1), means_0.repeat_interleave(second, 0), covs, None, path)
