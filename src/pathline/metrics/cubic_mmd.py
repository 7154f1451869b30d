"""Kernel distance on features (KID): the cubic kernel, over random subsets."""

from typing import NamedTuple

import torch
from torch import Tensor

from pathline._draws import permutation
from pathline.metrics.base import as_pair
from pathline.metrics.rbf_mmd import unbiased_mmd2


class Kid(NamedTuple):
    """Mean and standard deviation of the estimate over the subsets, and their size."""

    value: float
    spread: float
    subset_size: int


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (⟨x, y⟩/F + 1)³ as (N, M)."""
    return (x @ y.T / x.shape[1] + 1.0).pow(3)


def polynomial_mmd(samples: Tensor, real: Tensor) -> float:
    """Unbiased squared MMD with the cubic kernel over the whole of both feature sets, (N, F) and (M, F)."""
    x, y = as_pair(samples, real, minimum=2)
    return unbiased_mmd2(x, y, cubic_kernel)


def kid(
    samples: Tensor,
    real: Tensor,
    *,
    subsets: int = 50,
    subset_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Kid:
    """Mean over random subsets of the unbiased squared MMD with k(x, y) = (⟨x, y⟩/F + 1)³ (Bińkowski et al. 2018).

    Unbiased at any n, unlike the Fréchet distance, so single values may be negative. Printed unscaled; some
    authors print it times 1,000.

    Args:
        samples: (N, F). real: (M, F).
        subset_size: points of each subset; by default half of the smaller set, at most 1,000 (the whole set
            would make every subset equal and the spread zero).

    Raises:
        ValueError: bad features, ``subsets`` < 1, or a subset size outside [2, min(N, M)].
    """
    x, y = as_pair(samples, real, minimum=4)
    smaller = min(len(x), len(y))
    size = min(1000, smaller // 2) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size must lie in [2, {smaller}], got {size}")
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1, got {subsets}")
    values = torch.tensor(
        [
            unbiased_mmd2(
                x[permutation(len(x), generator, x.device)[:size]],
                y[permutation(len(y), generator, y.device)[:size]],
                cubic_kernel,
            )
            for _ in range(subsets)
        ],
        dtype=torch.float64,
    )
    return Kid(values.mean().item(), values.std(correction=0).item(), size)
