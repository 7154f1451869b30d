"""Fréchet distance between the Gaussians that fit two sets of features."""

import torch
from torch import Tensor

from pathline.metrics.base import as_pair, as_points


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F) of features (N, F), in float64. Needs N ≥ 2."""
    x = as_points(features, "features", minimum=2)
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(samples: Tensor, real: Tensor) -> float:
    """`frechet_from_moments` of the two feature sets (N, F) and (M, F), unbiased covariances.

    The value is biased upwards at finite N (roughly by F²/N times a scale), and differently for every model:
    compare only values at the same N, with the real-vs-real floor beside them. With Inception features this
    is FID; with other features it must be named after them.

    Raises:
        ValueError: different shapes, NaN, or fewer than two points.
    """
    as_pair(samples, real, minimum=2)
    return frechet_from_moments(*moments(samples), *moments(real))


def frechet_from_moments(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    r"""$|\mu_x - \mu_y|^2 + \mathrm{tr}\,C_x + \mathrm{tr}\,C_y - 2\,\mathrm{tr}\,(C_x^{1/2} C_y C_x^{1/2})^{1/2}$,
    the squared 2-Wasserstein distance of N(μ_x, C_x) and N(μ_y, C_y) (Dowson and Landau 1982).

    The last trace is the nuclear norm of $C_x^{1/2} C_y^{1/2}$, both roots taken by symmetric eigenvalues in
    float64: no complex square root, no jitter, and rank-deficient covariances (N < F) are fine.

    Args:
        mean_x: (F,).
        cov_x: (F, F), symmetric positive semi-definite.
        mean_y: (F,).
        cov_y: (F, F), symmetric positive semi-definite.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if not (mean_x.ndim == 1 and cov_x.shape == cov_y.shape == (*mean_x.shape, *mean_y.shape)):
        raise ValueError(
            "means must be (F,) and covariances (F, F), got "
            f"{tuple(mean_x.shape)}, {tuple(cov_x.shape)}, {tuple(mean_y.shape)}, {tuple(cov_y.shape)}"
        )
    mean_x, cov_x, mean_y, cov_y = (a.to(torch.float64) for a in (mean_x, cov_x, mean_y, cov_y))
    overlap = torch.linalg.svdvals(_root(cov_x) @ _root(cov_y)).sum()
    value = (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2.0 * overlap
    return value.clamp_min(0.0).item()


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2.0)
    return (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
