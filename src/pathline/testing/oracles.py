"""Exact fields: what a perfect network returns, in closed form, at any time of any affine path (theory T16).

Every oracle is a Field like any other and additionally has `log_prob(x, t)`, the log-density of the marginal p_t in nats, and
`sample(n, t, generator)`, exact draws from it. All are finite at t = 0 and t = 1 wherever the density itself is.
"""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_state, check_time
from pathline.field import BaseField
from pathline.paths.affine import AffineEstimate, AffinePath
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction, combine

LOG_2PI = math.log(2.0 * math.pi)


class ExactEstimate(AffineEstimate):
    """Posterior means of both ends and the score, each computed without dividing by a vanishing coefficient."""

    __slots__ = ("_data", "_noise", "_score")

    def __init__(self, path: AffinePath, x_t: Tensor, t: Tensor, data: Tensor, noise: Tensor, score: Tensor) -> None:
        self._data, self._noise, self._score = data, noise, score
        coefs = path.coefs(t, x_t)
        super().__init__(path, x_t, t, VELOCITY, combine(coefs.dalpha, data, coefs.dsigma, noise))

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is VELOCITY:
            return self.value
        if prediction is DATA:
            return self._data
        if prediction is NOISE:
            return self._noise
        if prediction is SCORE:
            return self._score
        return prediction.of(self.coefs, self._data, self._noise)


class Oracle(BaseField):
    """A field known in closed form, with the density and the samples of its marginals."""

    prediction = VELOCITY
    path: AffinePath
    shape: torch.Size
    """Trailing shape of a state."""

    @abstractmethod
    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, **cond: Any) -> Tensor:
        """log p_t(x), shape (B,), nats."""

    @abstractmethod
    def sample_data(self, n: int, generator: torch.Generator | None = None, **cond: Any) -> Tensor:
        """n draws of x_1, shape (n, *shape)."""

    def sample(
        self, n: int, t: "Tensor | float" = 1.0, generator: torch.Generator | None = None, **cond: Any
    ) -> Tensor:
        """n exact draws from p_t, shape (n, *shape)."""
        x_1 = self.sample_data(n, generator, **cond)
        x_0 = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype, device=x_1.device)
        return self.path.sample(x_0, x_1, check_time(t, x_1))

    def _check(self, x: Tensor) -> Tensor:
        check_state(x, "x_t")
        if x.shape[1:] != self.shape:
            raise ValueError(f"x_t must have shape (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        return x.flatten(1)

    def _flat_coefs(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t for flat states, each of shape () or (B, 1)."""
        coefs = self.path.coefs(t, x)
        return torch.as_tensor(coefs.alpha, dtype=x.dtype), torch.as_tensor(coefs.sigma, dtype=x.dtype)


class Gaussian(Oracle):
    """Data N(mean, cov): p_t = N(alpha m, alpha² C + sigma² I), everything linear in x."""

    def __init__(self, mean: Tensor, cov: Tensor, path: AffinePath) -> None:
        size = mean.numel()
        if cov.shape != (size, size):
            raise ValueError(f"cov must have shape ({size}, {size}) for a mean of {size} entries, got {tuple(cov.shape)}")
        values, vectors = torch.linalg.eigh(cov)
        if not bool(values.min() >= -1e-6 * values.abs().max()):
            raise ValueError(f"cov must be positive semi-definite, got the eigenvalue {values.min():g}")
        self.path, self.shape = path, mean.shape
        self.mean, self.variances, self.axes = mean.flatten(), values.clamp(min=0.0), vectors

    def _whiten(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(alpha, sigma, residual in the eigenbasis, variances there)."""
        alpha, sigma = self._flat_coefs(t, x)
        centred = (x - alpha * self.mean.to(x)) @ self.axes.to(x)
        return alpha, sigma, centred, alpha**2 * self.variances.to(x) + sigma**2

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> ExactEstimate:
        x = self._check(x_t)
        alpha, sigma, centred, variance = self._whiten(x, t)
        pull = centred / variance  # = -score in the eigenbasis
        back = self.axes.to(x).T
        data = self.mean.to(x) + (alpha * self.variances.to(x) * pull) @ back
        score = -pull @ back
        parts = (data, -sigma * score, score)
        return ExactEstimate(self.path, x_t, t, *(part.reshape(x_t.shape) for part in parts))

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, **cond: Any) -> Tensor:
        flat = self._check(x)
        _, _, centred, variance = self._whiten(flat, check_time(t, x))
        return -0.5 * (centred**2 / variance + torch.log(variance) + LOG_2PI).sum(1)

    def sample_data(self, n: int, generator: torch.Generator | None = None, **cond: Any) -> Tensor:
        z = torch.randn(n, len(self.mean), generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return (self.mean + (z * self.variances.sqrt()) @ self.axes.T).reshape(n, *self.shape)

    def reads(self) -> Any:
        return lambda x_t, t: None


class GaussianMixture(Oracle):
    """Data sum_k w_k N(m_k, s_k² I); with labels, ``y`` (B,) restricts it to the components of that label, -1 to none."""

    def __init__(
        self, means: Tensor, stds: Tensor, weights: Tensor, path: AffinePath, labels: Tensor | None = None
    ) -> None:
        count = len(means)
        for name, value in (("stds", stds), ("weights", weights), ("labels", labels)):
            if value is not None and value.shape != (count,):
                raise ValueError(f"{name} must have shape ({count},), one per component, got {tuple(value.shape)}")
        if not bool((stds >= 0.0).all()):
            raise ValueError(f"stds must not be negative, got {stds.tolist()}")
        if not bool((weights >= 0.0).all() and weights.sum() > 0.0):
            raise ValueError(f"weights must not be negative nor all zero, got {weights.tolist()}")
        self.path, self.shape = path, means.shape[1:]
        self.means, self.stds = means.flatten(1), stds
        self.weights = weights / weights.sum()
        self.labels = labels

    def _log_weights(self, x: Tensor, y: Tensor | None) -> Tensor:
        """log w_k, shape (1, K), or (B, K) with the other labels' components ruled out and the rest normalised."""
        base = torch.log(self.weights.to(x))
        if y is None:
            return base[None]
        if self.labels is None:
            raise ValueError("y is given, but this mixture has no labels: build it with labels=")
        known = self.labels.to(x.device)
        y = torch.as_tensor(y, device=x.device).expand(len(x))
        match = (y[:, None] == known[None]) | (y[:, None] == -1)
        if not bool(match.any(1).all()):
            raise ValueError(f"y must hold labels of the mixture or -1, got values in {sorted(set(y.tolist()))}")
        return torch.log_softmax(torch.where(match, base, -math.inf), dim=1)

    def _joint(self, x: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(alpha, sigma, component variances (., K), log w_k N(x; alpha m_k, v_k) of shape (B, K))."""
        alpha, sigma = self._flat_coefs(t, x)
        variance = alpha**2 * self.stds.to(x) ** 2 + sigma**2
        if variance.ndim == 1:
            variance = variance[None]
        means = self.means.to(x)
        distance = ((x[:, None] - alpha.reshape(-1, 1, 1) * means[None]) ** 2).sum(2)
        size = x.shape[1]
        logs = self._log_weights(x, y) - 0.5 * (distance / variance + size * (torch.log(variance) + LOG_2PI))
        return alpha, sigma, variance, logs

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> ExactEstimate:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self._check(x_t)
        alpha, sigma, variance, logs = self._joint(x, t, y)
        share = torch.softmax(logs, dim=1)
        means, spread = self.means.to(x), self.stds.to(x) ** 2
        # pull = sum_k r_k (x - alpha m_k)/v_k = -score
        inverse = share / variance
        pull = inverse.sum(1, keepdim=True) * x - alpha * (inverse @ means)
        shrink = share * alpha * spread / variance
        data = share @ means + shrink.sum(1, keepdim=True) * x - alpha * (shrink @ means)
        parts = (data, sigma * pull, -pull)
        return ExactEstimate(self.path, x_t, t, *(part.reshape(x_t.shape) for part in parts))

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, y: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        flat = self._check(x)
        return torch.logsumexp(self._joint(flat, check_time(t, x), y)[3], dim=1)

    def sample_data(self, n: int, generator: torch.Generator | None = None, y: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        like = self.means.new_empty(n, self.means.shape[1])
        weights = self._log_weights(like, y).exp().expand(n, -1)
        chosen = torch.multinomial(weights, 1, generator=generator)[:, 0]
        z = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return (self.means[chosen] + self.stds[chosen, None] * z).reshape(n, *self.shape)

    def reads(self) -> Any:
        return (lambda x_t, t: None) if self.labels is None else (lambda x_t, t, y: None)


def gaussian(mean: Tensor, cov: Tensor, path: AffinePath) -> Gaussian:
    """The exact field of data N(mean, cov); ``mean`` (*shape), ``cov`` (n, n) for n = mean.numel()."""
    return Gaussian(mean, cov, path)


def gaussian_mixture(
    means: Tensor,
    stds: "Tensor | float",
    weights: Tensor | None,
    path: AffinePath,
    labels: Tensor | None = None,
) -> GaussianMixture:
    """The exact field of a mixture of isotropic Gaussians.

    ``means`` (K, *shape), ``stds`` (K,) or one number, ``weights`` (K,) or None for equal ones, ``labels`` (K,) int64.
    """
    stds = torch.as_tensor(stds, dtype=means.dtype, device=means.device).expand(len(means))
    weights = means.new_ones(len(means)) if weights is None else weights
    return GaussianMixture(means, stds, weights, path, labels)


def eight_gaussians(path: AffinePath, *, radius: float = 5.0, variance: float = 0.1, dtype: torch.dtype = torch.float64) -> GaussianMixture:
    """Eight Gaussians on a circle, labelled 0..7: the standard toy (radius 5, variance 0.1)."""
    angle = torch.arange(8, dtype=dtype) * (math.pi / 4.0)
    means = radius * torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return gaussian_mixture(means, variance**0.5, None, path, labels=torch.arange(8))
