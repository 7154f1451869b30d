"""Fidelity and variety by nearest neighbours: precision/recall and density/coverage."""

from typing import NamedTuple

import torch
from torch import Tensor

from pathline.metrics.base import as_pair, row_blocks, squared_distances

# Squared distances carry rounding of this size relative to the largest squared norm; without the slack a
# point that lies exactly on a ball (a copy of a neighbour) would be in or out by chance.
_SLACK = 1e-13


class PrecisionRecall(NamedTuple):
    """How much of the samples lies among real data, and how much of the real data among samples."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely real data lie around samples, and the share of real data that have a sample near."""

    density: float
    coverage: float


def precision_recall(samples: Tensor, real: Tensor, *, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019).

    The ball of a point reaches to its k-th nearest neighbour in its own set. Precision is the share of samples
    inside at least one real ball, recall the share of real points inside at least one sample ball. Both are
    sensitive to single outliers with large balls; density and coverage are less so.

    Args:
        samples: (N, F) features or (N, *shape) points. real: (M, …). k: 1 ≤ k < min(N, M).

    Raises:
        ValueError: different shapes, NaN, or k too large for the sets.
    """
    x, y, slack = _prepare(samples, real, k, k)
    return PrecisionRecall(
        _balls_containing(x, y, _radii(y, k), slack).gt(0).double().mean().item(),
        _balls_containing(y, x, _radii(x, k), slack).gt(0).double().mean().item(),
    )


def density_coverage(samples: Tensor, real: Tensor, *, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020), with the k-nearest-neighbour balls of the real points only.

    Density is the mean number of real balls that hold a sample, over k: 1 in expectation for equal
    distributions, and it may exceed 1. Coverage is the share of real balls that hold at least one sample. For
    equal distributions its expectation is 1 − Π_{j<k} (M−1−j)/(N+M−1−j), about 1 − 2^{−k} at N = M,
    whatever the distribution.

    Args:
        samples: (N, F) features or (N, *shape) points. real: (M, …), M > k.

    Raises:
        ValueError: different shapes, NaN, or k too large for the real set.
    """
    x, y, slack = _prepare(samples, real, 0, k)
    radii = _radii(y, k)
    density = _balls_containing(x, y, radii, slack).double().mean().item() / k
    nearest = torch.cat([squared_distances(y[rows], x).min(1).values for rows in row_blocks(len(y), len(x))])
    return DensityCoverage(density, (nearest <= radii + slack).double().mean().item())


def _prepare(samples: Tensor, real: Tensor, least: int, k: int) -> tuple[Tensor, Tensor, float]:
    x, y = as_pair(samples, real)
    if k < 1 or k >= len(y) or least >= len(x):
        raise ValueError(
            f"k must be at least 1 and smaller than the sets, got k = {k} with {len(x)} samples and {len(y)} real "
            "points: lower k or give more points"
        )
    centre = y.mean(0)
    x, y = x - centre, y - centre
    slack = _SLACK * max(x.square().sum(1).max().item(), y.square().sum(1).max().item())
    return x, y, slack


def _radii(points: Tensor, k: int) -> Tensor:
    """Squared distance of each point to its k-th nearest neighbour, itself not counted: (N,)."""
    found = [
        squared_distances(points[rows], points).topk(k + 1, largest=False).values[:, k]  # +1: the point itself
        for rows in row_blocks(len(points), len(points))
    ]
    return torch.cat(found)


def _balls_containing(points: Tensor, centres: Tensor, squared_radii: Tensor, slack: float) -> Tensor:
    """For each point, in how many of the balls around ``centres`` it lies: (N,)."""
    found = [
        (squared_distances(points[rows], centres) <= squared_radii + slack).sum(1)
        for rows in row_blocks(len(points), len(centres))
    ]
    return torch.cat(found)
