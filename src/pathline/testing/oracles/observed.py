"""The exact posterior of a Gaussian or a mixture under a linear observation: what posterior guidance should sample (theory T16)."""

import torch
from torch import Tensor

from pathline.testing.oracles.gaussian import Gaussian
from pathline.testing.oracles.mixture import FullMixture, GaussianMixture, full_mixture


def observed(prior: "Gaussian | GaussianMixture | FullMixture", a: Tensor, y: Tensor, std: float) -> FullMixture:
    """The field of the data given y = A x_1 + ``std`` n: an oracle of p(x_1 | y) along the prior's path.

    ``a`` (m, D) acts on flattened states, ``y`` (m,) is one observation. Component k of the prior, with weight w_k, N(m_k, C_k), becomes
    N(m_k + K (y - A m_k), C_k - K A C_k) with the gain K = C_k A^T S^{-1}, S = A C_k A^T + std² I, and the weight w_k N(y; A m_k, S).
    """
    if not std > 0.0:
        raise ValueError(f"std must be positive, got {std}: without noise the posterior has no density")
    size = prior.shape.numel()
    if a.ndim != 2 or a.shape[1] != size or y.shape != (len(a),):
        raise ValueError(f"a must have shape (m, {size}) and y (m,), got {tuple(a.shape)} and {tuple(y.shape)}")
    means, covs, weights = components(prior)
    s = a @ covs @ a.T + std**2 * torch.eye(len(a), dtype=a.dtype)  # (K, m, m)
    gain = torch.linalg.solve(s, a @ covs).mT
    misfit = y - means @ a.T
    log_weights = torch.log(weights) + torch.distributions.MultivariateNormal(means @ a.T, s).log_prob(y)
    new_means = means + (gain @ misfit[..., None])[..., 0]
    new_covs = covs - gain @ (a @ covs)
    new_covs = 0.5 * (new_covs + new_covs.mT)
    return full_mixture(
        new_means.reshape(-1, *prior.shape), new_covs, torch.softmax(log_weights, 0), prior.path, prior.labels
    )


def components(prior: "Gaussian | GaussianMixture | FullMixture") -> tuple[Tensor, Tensor, Tensor]:
    """(means (K, D), covariances (K, D, D), weights (K,))."""
    if isinstance(prior, Gaussian):
        cov = (prior.axes * prior.variances) @ prior.axes.T
        return prior.mean[None], cov[None], prior.mean.new_ones(1)
    if isinstance(prior, GaussianMixture):
        eye = torch.eye(prior.means.shape[1], dtype=prior.means.dtype)
        return prior.means, prior.stds[:, None, None] ** 2 * eye, prior.weights
    return prior.means, (prior.axes * prior.variances[:, None]) @ prior.axes.mT, prior.weights


def moments(mixture: FullMixture) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the covariance (D, D) of the data of a mixture."""
    means, covs, weights = components(mixture)
    mean = weights @ means
    centred = means - mean
    return mean, torch.einsum("k,kij->ij", weights, covs) + (weights[:, None] * centred).T @ centred
