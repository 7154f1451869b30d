"""Where on the log-SNR axis there is something to learn: the variance of the data that a denoiser explains (theory T16, T20).

With r = sigma/alpha the noise seen by a denoiser, R(lambda) = 1 - E|x_1 - D(x_t)|²/E|x_1 - mean|² rises from 0 (pure noise) to 1
(pure data) as lambda = log(alpha/sigma) = -log r grows, the same for every schedule. D here is the better of two denoisers
that are exact for a distribution made of one part of the data, tried on another part: that of a Gaussian with its mean and
covariance, and that of its points (`testing.oracles.empirical`). So only what carries over to new samples counts, and
R is a lower bound of what a network can explain.

The mean m and standard deviation s of dR/dlambda tell where a network has to change its answer. For Gaussian data of unit variance
R = sigmoid(2 lambda): m = 0 and s = pi/sqrt(12) = 0.907. Data whose neighbours repeat each other, such as larger images, have
lower m: repeating each pixel k times lowers it by log(k)/2, which is the shift sqrt(k) of Stable Diffusion 3.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pathline.paths import AffinePath
from pathline.schedules import Linear
from pathline.testing import oracles

KNOWN, TRIED = 512, 192
"""Points of the denoisers, and points that they are tried on."""
PLANE, MORE = 32, 640
"""Up to this many dimensions, so many of both."""
REACH, NODES = 7.0, 43
"""lambda runs from -REACH to REACH."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Explained variance along the log-SNR.

    Attributes:
        logsnr: lambda = log(alpha/sigma), rising.
        share: R there, made monotone.
        mean, std: of dR/dlambda.
    """

    logsnr: Tensor
    share: Tensor
    mean: float
    std: float

    @property
    def shift(self) -> float:
        """exp(-mean): what the uniform law has to be shifted by to have its middle there."""
        return math.exp(-self.mean)


def explained_variance(x: Tensor, *, seed: int = 0) -> Explained:
    """Where the variance of the data ``x`` (N, ...) is explained, from some hundreds of them, drawn by ``seed``.

    Raises:
        ValueError: fewer than 8 samples, or samples that are all the same.
    """
    if len(x) < 8:
        raise ValueError(f"x must hold at least 8 samples, got {len(x)}")
    generator = torch.Generator().manual_seed(seed)
    small = x[0].numel() <= PLANE
    most = 2 * MORE if small else KNOWN + TRIED
    chosen = torch.randperm(len(x), generator=generator)[:most]
    flat = x[chosen].detach().cpu().double().flatten(1)
    tried = len(flat) // 2 if small else min(TRIED, len(flat) // 4)
    known, rest = flat[tried:], flat[:tried]
    known, rest = _in_their_span(known - known.mean(0), rest - known.mean(0))
    total = float((rest**2).sum(1).mean())
    if not total > 0.0 or not float(known.abs().max()) > 0.0:
        raise ValueError("all samples are the same: there is no variance to explain")
    powers, axes = torch.linalg.eigh(known.T @ known / len(known))
    known, rest = known @ axes, rest @ axes  # noise is the same in any directions
    noise = torch.randn(rest.shape, generator=generator, dtype=rest.dtype)
    oracle = oracles.empirical(known, AffinePath(Linear()))

    def error(logsnr: float) -> float:
        """Mean squared error, over samples, of the better denoiser at x_1 + r x_0."""
        r = math.exp(-logsnr)
        seen = rest + r * noise
        t = torch.tensor(1.0 / (1.0 + r), dtype=torch.float64)  # the linear path at this log-SNR
        denoised = (seen * (powers / (powers + r * r)), oracle(t * seen, t).data)
        return min(float((each - rest).square().sum(1).mean()) for each in denoised)

    logsnr = torch.linspace(-REACH, REACH, NODES, dtype=torch.float64) - math.log(total / x[0].numel()) / 2
    left = torch.tensor([error(value) for value in logsnr.tolist()]).double() / total
    share = torch.cummax((1.0 - left).clamp(0.0, 1.0), 0).values
    weight, middle = share.diff(), 0.5 * (logsnr[1:] + logsnr[:-1])
    mean = float((weight * middle).sum() / weight.sum())
    std = float(((weight * (middle - mean) ** 2).sum() / weight.sum()).sqrt())
    return Explained(logsnr=logsnr, share=share, mean=mean, std=std)


def _in_their_span(known: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates within the span of all points, where there are more dimensions than points: noise outside it tells nothing."""
    both = torch.cat([known, rest])
    if both.shape[1] > len(both):
        values, vectors = torch.linalg.eigh(both @ both.T)
        kept = values > 1e-10 * values[-1]
        both = vectors[:, kept] * values[kept].sqrt()
    return both[: len(known)], both[len(known) :]
