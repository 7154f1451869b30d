"""Kernel two-sample distance: unbiased squared MMD with Gaussian kernels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pathline.metrics.base import as_pair, as_points, row_blocks, squared_distances

# The median over at most this many points: the heuristic needs a scale, not a precise quantile.
_MEDIAN_POINTS = 1000


def median_bandwidth(points: Tensor) -> float:
    """The median heuristic: median of |y_i − y_j| over i < j (over an even subsample of 1,000 points).

    Raises:
        ValueError: the median is zero, because more than half of the pairs coincide.
    """
    y = as_points(points, "points", minimum=2)
    y = y[:: -(-len(y) // _MEDIAN_POINTS)]
    median = torch.pdist(y - y.mean(0)).median().item()
    if median == 0.0:
        raise ValueError("the median distance is 0: most points coincide; give bandwidth= yourself")
    return median


def mmd(
    samples: Tensor,
    real: Tensor,
    *,
    bandwidth: float | None = None,
    scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
) -> float:
    r"""Unbiased estimate of $\mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2E\,k(x, y)$.

    The kernel is the mean over ``scales`` s of $\exp(-|x-y|^2 / (2 s^2 h^2))$ with bandwidth h. Within one set
    the pairs i = j are left out, so the expectation is 0 for equal distributions and single values may be
    negative. (Gretton et al. 2012, lemma 6.)

    By default h is the median distance **of the real set alone**: all models compared with one real set are
    then measured by one kernel. Exchanging the arguments changes h unless it is given.

    Args:
        samples: (N, *shape), N ≥ 2. real: (M, *shape), M ≥ 2.
        bandwidth: h > 0. scales: factors of h, all > 0; ``(1.0,)`` is the plain RBF kernel.

    Raises:
        ValueError: bad points, a scale or bandwidth that is not positive.
    """
    if bandwidth is not None and not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    if not scales or any(not s > 0 for s in scales):
        raise ValueError(f"scales must be one or more positive factors, got {tuple(scales)}")
    x, y = as_pair(samples, real, minimum=2)
    h = median_bandwidth(real) if bandwidth is None else bandwidth
    centre = y.mean(0)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        d = squared_distances(a, b).div_(-2.0 * h * h)
        return torch.stack([(d / s**2).exp_() for s in scales]).mean(0)

    return unbiased_mmd2(x - centre, y - centre, kernel)


def unbiased_mmd2(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The U-statistic of squared MMD for any kernel (N, D), (M, D) -> (N, M); memory of one block."""
    within_x = mean_pairwise(x, x, kernel, skip_diagonal=True)
    within_y = mean_pairwise(y, y, kernel, skip_diagonal=True)
    return within_x + within_y - 2.0 * mean_pairwise(x, y, kernel, skip_diagonal=False)


def mean_pairwise(x: Tensor, y: Tensor, function: Callable[[Tensor, Tensor], Tensor], *, skip_diagonal: bool) -> float:
    """Mean of f(x_i, y_j) over all pairs, block by block; over i ≠ j where ``skip_diagonal``."""
    total = x.new_zeros(())
    for rows in row_blocks(len(x), len(y)):
        block = function(x[rows], y)
        if skip_diagonal:
            block.diagonal(offset=rows.start).zero_()
        total += block.sum()
    pairs = len(x) * (len(y) - 1) if skip_diagonal else len(x) * len(y)
    return (total / pairs).item()
