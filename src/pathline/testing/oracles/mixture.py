"""Mixtures of Gaussians, isotropic or with full covariances, with labels (theory T16, T33, T35)."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from pathline._draws import chosen, normal
from pathline._shapes import check_time
from pathline.paths.affine import AffinePath
from pathline.testing.oracles.base import LOG_2PI, ExactEstimate, Oracle, check_labels, check_y
from pathline.testing.oracles.gaussian import eigen, prediction_for


class Mixture(Oracle):
    """Data sum_k w_k N(m_k, C_k); a label ``y`` restricts it to the components of that label, -1 to none."""

    means: Tensor
    """(K, D)."""
    weights: Tensor
    """(K,), summing to one."""

    @abstractmethod
    def _log_components(self, x: Tensor, t: Tensor) -> Tensor:
        """log N(x; alpha m_k, alpha² C_k + sigma² I), shape (B, K)."""

    @abstractmethod
    def _average(self, x: Tensor, t: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(D, sigma, -score) for component weights ``share`` (B, K)."""

    @abstractmethod
    def _second_moment(self, x: Tensor, t: Tensor, share: Tensor) -> Tensor:
        """E[|x_1|² | x_t], shape (B,)."""

    @abstractmethod
    def _draw(self, chosen: Tensor, z: Tensor) -> Tensor:
        """Points of the components ``chosen`` (n,) from unit normals ``z`` (n, D)."""

    def evaluate(self, x_t: Tensor, t: Tensor, y: "Tensor | int | None" = None) -> ExactEstimate:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self._flat(x_t)
        share = torch.softmax(self._joint(x, t, y), dim=1)
        return ExactEstimate(self, x_t, t, *self._average(x, t, share))

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, y: "Tensor | int | None" = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.logsumexp(self._joint(self._flat(x), check_time(t, x), y), dim=1).to(x.dtype)

    def posterior_variance(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, t: "Tensor | float", y: "Tensor | int | None" = None
    ) -> Tensor:
        flat, t = self._flat(x), check_time(t, x)
        share = torch.softmax(self._joint(flat, t, y), dim=1)
        data = self._average(flat, t, share)[0]
        return (self._second_moment(flat, t, share) - (data**2).sum(1)).clamp(min=0.0).to(x.dtype)

    def class_prior(self) -> tuple[Tensor, Tensor]:
        if self.labels is None:
            raise ValueError("this mixture has no labels: build it with labels=")
        classes, place = self.labels.unique(return_inverse=True)
        total = self.weights.new_zeros(len(classes)).index_add_(0, place, self.weights)
        return classes, torch.log(total)

    def sample_data(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n: int, generator: torch.Generator | None = None, y: "Tensor | int | None" = None
    ) -> Tensor:
        like = self.means.new_empty(n, self.means.shape[1])
        weights = self._log_weights(like, y).exp().expand(n, -1)
        component = chosen(weights, 1, generator)[:, 0]
        z = normal(like.shape, generator, like)
        return self._draw(component, z).reshape(n, *self.shape)

    def _joint(self, x: Tensor, t: Tensor, y: "Tensor | int | None") -> Tensor:
        return self._log_weights(x, y) + self._log_components(x, t)

    def _log_weights(self, x: Tensor, y: "Tensor | int | None") -> Tensor:
        """log w_k, shape (1, K), or (B, K) with the other labels' components ruled out and the rest normalised."""
        base = torch.log(self.weights.to(x))
        if y is None:
            return base[None]
        y = check_y(y, self.labels, x)
        known = self.labels.to(x.device)  # pyright: ignore[reportOptionalMemberAccess]
        match = (y[:, None] == known[None]) | (y[:, None] == -1)
        return torch.log_softmax(torch.where(match, base, -math.inf), dim=1)


class GaussianMixture(Mixture):
    """Data sum_k w_k N(m_k, s_k² I)."""

    def __init__(
        self, means: Tensor, stds: Tensor, weights: Tensor, path: AffinePath, labels: Tensor | None = None
    ) -> None:
        _check_components(len(means), stds=stds, weights=weights)
        if not bool((stds >= 0.0).all()):
            raise ValueError(f"stds must not be negative, got {stds.tolist()}")
        self.path, self.shape = path, means.shape[1:]
        self.means, self.stds = means.flatten(1), stds
        self.weights, self.labels = weights / weights.sum(), check_labels(labels, len(means))
        self.prediction = prediction_for(stds)

    def _variances(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha, sigma, component variances (1 or B, K))."""
        alpha, sigma = self._flat_coefs(t, x)
        return alpha, sigma, (alpha**2 * self.stds.to(x) ** 2 + sigma**2).reshape(-1, len(self.stds))

    def _log_components(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, _, variance = self._variances(x, t)
        means = self.means.to(x)
        # about their centre, so that the products below cancel as little as they can
        centre = means.mean(0)
        x, means = x - alpha * centre, means - centre
        cross = (alpha * x) @ means.T
        distance = (x**2).sum(1, keepdim=True) - 2.0 * cross + alpha**2 * (means**2).sum(1)
        return -0.5 * (distance / variance + x.shape[1] * (torch.log(variance) + LOG_2PI))

    def _average(self, x: Tensor, t: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma, variance = self._variances(x, t)
        means = self.means.to(x)
        # pull = sum_k r_k (x - alpha m_k)/v_k = -score
        inverse = share / variance
        pull = inverse.sum(1, keepdim=True) * x - alpha * (inverse @ means)
        shrink = inverse * alpha * self.stds.to(x) ** 2
        data = share @ means + shrink.sum(1, keepdim=True) * x - alpha * (shrink @ means)
        return data, sigma, pull

    def _second_moment(self, x: Tensor, t: Tensor, share: Tensor) -> Tensor:
        alpha, sigma, variance = self._variances(x, t)
        means, spread = self.means.to(x), self.stds.to(x) ** 2
        # component k's posterior has the mean (sigma² m_k + alpha s_k² x)/v_k
        a, b = (sigma**2 / variance), alpha * spread / variance
        squares = a**2 * (means**2).sum(1) + 2.0 * a * b * (x @ means.T) + b**2 * (x**2).sum(1, keepdim=True)
        return (share * (squares + x.shape[1] * sigma**2 * spread / variance)).sum(1)

    def _draw(self, chosen: Tensor, z: Tensor) -> Tensor:
        return self.means[chosen] + self.stds[chosen, None] * z


class FullMixture(Mixture):
    """Data sum_k w_k N(m_k, C_k) with full covariances, through their eigenvectors: O(B K D²) a call."""

    def __init__(
        self, means: Tensor, covs: Tensor, weights: Tensor, path: AffinePath, labels: Tensor | None = None
    ) -> None:
        _check_components(len(means), weights=weights)
        self.path, self.shape, self.means = path, means.shape[1:], means.flatten(1)
        size = self.means.shape[1]
        if covs.shape != (len(means), size, size):
            raise ValueError(f"covs must have shape ({len(means)}, {size}, {size}), got {tuple(covs.shape)}")
        self.variances, self.axes = eigen(covs, "covs")
        self.prediction = prediction_for(self.variances)
        self.weights, self.labels = weights / weights.sum(), check_labels(labels, len(means))

    def _whiten(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(alpha, sigma, residuals in the eigenbases (B, K, D), variances there (1 or B, K, D))."""
        alpha, sigma = self._flat_coefs(t, x)
        alpha, sigma = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
        centred = torch.einsum("bkd,kde->bke", x[:, None] - alpha * self.means.to(x), self.axes.to(x))
        return alpha, sigma, centred, alpha**2 * self.variances.to(x) + sigma**2

    def _log_components(self, x: Tensor, t: Tensor) -> Tensor:
        _, _, centred, variance = self._whiten(x, t)
        return -0.5 * (centred**2 / variance + torch.log(variance) + LOG_2PI).sum(2)

    def _average(self, x: Tensor, t: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma, centred, variance = self._whiten(x, t)
        pull, axes = share[..., None] * centred / variance, self.axes.to(x)
        back = torch.einsum("bke,kde->bd", pull, axes)
        data = share @ self.means.to(x) + torch.einsum("bke,kde->bd", alpha * self.variances.to(x) * pull, axes)
        return data, sigma[:, :, 0], back

    def _second_moment(self, x: Tensor, t: Tensor, share: Tensor) -> Tensor:
        alpha, sigma, centred, variance = self._whiten(x, t)
        spread = self.variances.to(x)
        axes = self.axes.to(x)
        means = torch.einsum("kd,kde->ke", self.means.to(x), axes) + alpha * spread * centred / variance
        return (share * (means**2 + sigma**2 * spread / variance).sum(2)).sum(1)

    def _draw(self, chosen: Tensor, z: Tensor) -> Tensor:
        return self.means[chosen] + torch.einsum("ne,nde->nd", z * self.variances[chosen].sqrt(), self.axes[chosen])


def _check_components(count: int, **given: Tensor) -> None:
    for name, value in given.items():
        if value.shape != (count,):
            raise ValueError(f"{name} must have shape ({count},), one per component, got {tuple(value.shape)}")
    weights = given["weights"]
    if not bool((weights >= 0.0).all() and weights.sum() > 0.0):
        raise ValueError(f"weights must not be negative nor all zero, got {weights.tolist()}")


def gaussian_mixture(
    means: Tensor,
    stds: "Tensor | float",
    weights: Tensor | None,
    path: AffinePath,
    labels: Tensor | None = None,
) -> GaussianMixture:
    """The exact field of a mixture of isotropic Gaussians.

    ``means`` (K, *shape), ``stds`` (K,) or one number, ``weights`` (K,) or None for equal ones, ``labels`` (K,) integers.
    """
    stds = torch.as_tensor(stds, dtype=means.dtype, device=means.device)
    stds = stds.expand(len(means)) if stds.ndim == 0 else stds
    weights = means.new_ones(len(means)) if weights is None else weights
    return GaussianMixture(means, stds, weights, path, labels)


def full_mixture(
    means: Tensor, covs: Tensor, weights: Tensor | None, path: AffinePath, labels: Tensor | None = None
) -> FullMixture:
    """The exact field of a mixture of Gaussians with full covariances.

    ``means`` (K, *shape), ``covs`` (K, n, n) for n entries in a state, ``weights`` (K,) or None for equal ones,
    ``labels`` (K,) integers.
    """
    weights = means.new_ones(len(means)) if weights is None else weights
    return FullMixture(means, covs, weights, path, labels)


def eight_gaussians(
    path: AffinePath, *, radius: float = 5.0, variance: float = 0.1, dtype: torch.dtype = torch.float64
) -> GaussianMixture:
    """Eight Gaussians on a circle, labelled 0..7: the standard toy (radius 5, variance 0.1)."""
    angle = torch.arange(8, dtype=dtype) * (math.pi / 4.0)
    means = radius * torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return gaussian_mixture(means, variance**0.5, None, path, labels=torch.arange(8))
