"""Energy distance: a kernel distance without a bandwidth."""

from torch import Tensor

from pathline.metrics.base import as_pair, squared_distances
from pathline.metrics.rbf_mmd import mean_pairwise


def energy_distance(samples: Tensor, real: Tensor) -> float:
    r"""Unbiased estimate of $2E|x - y| - E|x - x'| - E|y - y'|$ (Székely and Rizzo 2013).

    Pairs i = j are left out within each set, so the expectation is 0 for equal distributions and single
    values may be negative. Streams over blocks of rows: memory does not grow with N·M.

    Args:
        samples: (N, *shape), N ≥ 2. real: (M, *shape), M ≥ 2.

    Raises:
        ValueError: different point shapes, NaN, or fewer than two points.
    """
    x, y = as_pair(samples, real, minimum=2)
    centre = y.mean(0)
    x, y = x - centre, y - centre
    between = mean_pairwise(x, y, _distances, skip_diagonal=False)
    within_x = mean_pairwise(x, x, _distances, skip_diagonal=True)
    within_y = mean_pairwise(y, y, _distances, skip_diagonal=True)
    return 2.0 * between - within_x - within_y


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return squared_distances(x, y).sqrt_()
