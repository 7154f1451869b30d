"""The Gaussian copula: a naive generator of tables, which every other one should beat."""

import torch
from torch import Generator, Tensor


class GaussianCopula:
    """Every column keeps its own distribution; their ranks follow a Gaussian with the correlations of the data.

    Fit it on columns that are each standard normal already, as those of a table with ``numbers="quantile"`` and
    ``categories="normal"`` are: then it is the Gaussian with their covariance.

    >>> x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    >>> tuple(GaussianCopula(x).sample(5).shape)
    (5, 2)
    """

    def __init__(self, x: Tensor) -> None:
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"x must have shape (N, D) with at least 2 rows, got {tuple(x.shape)}")
        double = x.double()
        self.mean, covariance = double.mean(0), torch.atleast_2d(torch.cov(double.T))
        values, vectors = torch.linalg.eigh(covariance)
        self.root = vectors * values.clamp(min=0.0).sqrt()

    def sample(self, n: int, *, generator: "Generator | None" = None) -> Tensor:
        """``n`` rows (n, D), float32."""
        z = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean + z @ self.root.T).float()
