"""What the checks compare with: densities from `torch.distributions`, finite differences, distances between samples.

Nothing here uses the package's own fields, so that an agreement means something. All in float64.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from pathline.paths import AffinePath
from pathline.schedules import VP, Coefs, Cosine, Linear, Polynomial, Schedule, Trig
from pathline.testing import oracles

Coef: TypeAlias = float | Tensor

SCHEDULES: dict[str, Schedule] = {
    "linear": Linear(),
    "vp": VP(),
    "cosine": Cosine(),
    "trig": Trig(),
    "polynomial": Polynomial(2.0),
}
"""The schedules from pure noise to pure data on which checks run."""

LINEAR = AffinePath(Linear())
TRIG = AffinePath(Trig())


def generator(seed: int) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def at(t: float) -> Tensor:
    """A time as the float64 scalar that schedules take."""
    return torch.tensor(t, dtype=torch.float64)


class Numbers(Coefs):
    """Coefficients at one time, as numbers."""

    __slots__ = ()
    alpha: float  # pyright: ignore[reportIncompatibleVariableOverride]
    sigma: float  # pyright: ignore[reportIncompatibleVariableOverride]
    dalpha: float  # pyright: ignore[reportIncompatibleVariableOverride]
    dsigma: float  # pyright: ignore[reportIncompatibleVariableOverride]


def coefs_at(schedule: Schedule, t: float) -> Numbers:
    """alpha, sigma and derivatives at ``t``."""
    return Numbers(*(float(c) for c in schedule(at(t))))


class Mixture:
    """A mixture of normals on the line, and its marginals p_t under alpha x_1 + sigma x_0 with x_0 ~ N(0, 1)."""

    def __init__(self, means: tuple[float, ...], stds: tuple[float, ...], weights: tuple[float, ...]) -> None:
        self.means, self.stds, self.weights = (torch.tensor(v, dtype=torch.float64) for v in (means, stds, weights))

    def marginal(self, alpha: Coef = 1.0, sigma: Coef = 0.0) -> MixtureSameFamily:
        """The distribution of alpha x_1 + sigma x_0; the batch shape is that of alpha and sigma."""
        a, s = (torch.as_tensor(c, dtype=torch.float64)[..., None] for c in (alpha, sigma))
        parts = Normal(a * self.means, (a**2 * self.stds**2 + s**2) ** 0.5, validate_args=False)
        return MixtureSameFamily(Categorical(self.weights.expand(parts.batch_shape)), parts, validate_args=False)

    def density(self, x: Tensor, alpha: Coef = 1.0, sigma: Coef = 0.0) -> Tensor:
        """p_t(x), shape of x; alpha and sigma broadcast over it."""
        return self.marginal(alpha, sigma).log_prob(x).exp()

    def cdf(self, x: Tensor, alpha: Coef = 1.0, sigma: Coef = 0.0) -> Tensor:
        """P(x_t ≤ x), shape of x; alpha and sigma broadcast over it."""
        return self.marginal(alpha, sigma).cdf(x)

    def quantile(self, level: Tensor, alpha: Coef = 1.0, sigma: Coef = 0.0) -> Tensor:
        """The x with P(x_t ≤ x) = level, by bisection; error below 1e-13 where the density is above 1e-2."""
        low, high = torch.full_like(level, -12.0), torch.full_like(level, 12.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self.cdf(middle, alpha, sigma) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)

    def moments(self, alpha: float = 1.0, sigma: float = 0.0) -> tuple[float, float, float]:
        """(mean, variance, kurtosis) of p_t, from the moments of normals."""
        m, v, w = alpha * self.means, alpha**2 * self.stds**2 + sigma**2, self.weights
        mean = float((w * m).sum())
        d = m - mean
        variance = float((w * (v + d**2)).sum())
        fourth = float((w * (3.0 * v**2 + 6.0 * v * d**2 + d**4)).sum())
        return mean, variance, fourth / variance**2

    def oracle(self, path: AffinePath) -> oracles.GaussianMixture:
        """The package's exact field of the same data, for states of shape (B, 1)."""
        return oracles.gaussian_mixture(self.means[:, None], self.stds, self.weights, path)


MIXTURE = Mixture((-2.0, 0.5, 2.0), (0.4, 0.3, 0.6), (0.3, 0.3, 0.4))
"""The data on the line of most checks: three modes, no symmetry."""


def plane(means: Tensor, std: float, alpha: Tensor | float, sigma: Tensor | float) -> MixtureSameFamily:
    """p_t of an equal mixture of N(m_k, std² I), as a distribution; ``means`` (K, D)."""
    spread = torch.as_tensor(alpha**2 * std**2 + sigma**2, dtype=means.dtype) ** 0.5
    parts = Independent(Normal(alpha * means, spread.expand_as(means)), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(means), dtype=means.dtype)), parts, validate_args=False)


def derivative(f: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-3) -> Tensor:
    """f'(x) by central differences of order 4, elementwise."""
    near, far = f(x + step) - f(x - step), f(x + 2.0 * step) - f(x - 2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


def gradient(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the row-wise scalar function ``f``: (B, ...) -> (B,), by automatic differentiation."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(f(x).sum(), x)
    return slope


def gap(a: Tensor, b: Tensor) -> float:
    """max |a - b| / max(1, max |b|); NaN stays NaN."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1.0))


def relative(found: Coef, truth: Tensor) -> float:
    """max |found/truth - 1|."""
    return float((torch.as_tensor(found) / truth - 1.0).abs().max())


def kolmogorov(samples: Tensor, cdf: Callable[[Tensor], Tensor]) -> float:
    """sup_x |F_n(x) - F(x)| of samples on the line; 1.36/sqrt(n) is exceeded in 5 % of honest draws."""
    ordered = samples.flatten().sort().values
    below = torch.arange(len(ordered), dtype=torch.float64) / len(ordered)
    level = cdf(ordered)
    return float(torch.maximum((level - below).abs(), (level - below - 1.0 / len(ordered)).abs()).max())


def moments(samples: Tensor) -> tuple[float, float, float]:
    """(mean, variance, kurtosis) of samples."""
    mean = samples.mean()
    centred = samples - mean
    variance = (centred**2).mean()
    return float(mean), float(variance), float((centred**4).mean() / variance**2)
