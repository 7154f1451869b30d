"""Gaussian data: everything is linear in x (theory T16)."""

from typing import Any

import torch
from torch import Tensor

from pathline._draws import normal
from pathline._shapes import check_time
from pathline.paths.affine import AffinePath
from pathline.predictions import DATA, VELOCITY, Prediction
from pathline.testing.oracles.base import LOG_2PI, ExactEstimate, Oracle


def eigen(cov: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., D), none below zero, and eigenvectors (..., D, D) of positive semi-definite matrices."""
    values, vectors = torch.linalg.eigh(cov)
    largest = values.abs().amax(-1, keepdim=True)
    if not bool((values >= -1e-6 * largest).all()):
        raise ValueError(f"{name} must be positive semi-definite, got the eigenvalue {values.min():g}")
    rounding = torch.finfo(values.dtype).eps * values.shape[-1] * largest
    return torch.where(values > rounding, values, 0.0), vectors


def prediction_for(variances: Tensor) -> Prediction:
    """VELOCITY, or DATA where some direction has no variance: at t = 1 the velocity towards a point mass is infinite."""
    return VELOCITY if bool((variances > 0.0).all()) else DATA


class Gaussian(Oracle):
    """Data N(mean, cov): p_t = N(alpha m, alpha² C + sigma² I), everything linear in x."""

    def __init__(self, mean: Tensor, cov: Tensor, path: AffinePath) -> None:
        size = mean.numel()
        if cov.shape != (size, size):
            raise ValueError(
                f"cov must have shape ({size}, {size}) for a mean of {size} entries, got {tuple(cov.shape)}"
            )
        self.path, self.shape, self.mean = path, mean.shape, mean.flatten()
        self.variances, self.axes = eigen(cov, "cov")
        self.prediction = prediction_for(self.variances)

    def _whiten(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(alpha, sigma, residual in the eigenbasis, variances there)."""
        alpha, sigma = self._flat_coefs(t, x)
        centred = (x - alpha * self.mean.to(x)) @ self.axes.to(x)
        return alpha, sigma, centred, alpha**2 * self.variances.to(x) + sigma**2

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> ExactEstimate:
        x = self._flat(x_t)
        alpha, sigma, centred, variance = self._whiten(x, t)
        pull = centred / variance  # = -score in the eigenbasis
        back = self.axes.to(x).T
        data = self.mean.to(x) + (alpha * self.variances.to(x) * pull) @ back
        return ExactEstimate(self, x_t, t, data, sigma, pull @ back)

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, **cond: Any) -> Tensor:
        _, _, centred, variance = self._whiten(self._flat(x), check_time(t, x))
        return (-0.5 * (centred**2 / variance + torch.log(variance) + LOG_2PI).sum(1)).to(x.dtype)

    def posterior_variance(self, x: Tensor, t: "Tensor | float", **cond: Any) -> Tensor:
        flat = self._flat(x)
        _, sigma, _, variance = self._whiten(flat, check_time(t, x))
        return (self.variances.to(flat) * sigma**2 / variance).sum(-1).expand(len(x)).to(x.dtype)

    def sample_data(self, n: int, generator: torch.Generator | None = None, **cond: Any) -> Tensor:
        z = normal((n, len(self.mean)), generator, self.mean)
        return (self.mean + (z * self.variances.sqrt()) @ self.axes.T).reshape(n, *self.shape)


def gaussian(mean: Tensor, cov: Tensor, path: AffinePath) -> Gaussian:
    """The exact field of data N(mean, cov); ``mean`` (*shape), ``cov`` (n, n) for n = mean.numel()."""
    return Gaussian(mean, cov, path)
