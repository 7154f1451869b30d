"""Bits per dimension of data on whole levels (theory T7)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._shapes import check_state, working_dtype
from pathline.field import BaseField
from pathline.likelihood.density import log_prob
from pathline.paths.affine import AffinePath
from pathline.predictions import combine
from pathline.solvers.base import Noise
from pathline.solvers.integrate import as_solver
from pathline.times import TimeLaw
from pathline.times import uniform as uniform_law

SEPARATION = 5.0
"""Distance of neighbouring levels in standard deviations of the path's noise: one in 160 values is then read wrong."""


@dataclass(frozen=True, kw_only=True)
class BitsPerDim:
    """Bits per dimension of data on whole levels: an upper bound that holds on average over the dequantising noise."""

    per_sample: Tensor
    """(B,), averaged over the draws."""
    draw_std: Tensor | None
    """(B,), standard deviation between the draws of one sample (dequantisation and random directions); None for one draw."""

    @property
    def mean(self) -> float:
        """Average over the samples."""
        return float(self.per_sample.double().mean())

    @property
    def error(self) -> float:
        """Standard error of the mean, from samples and draws together; nan for one sample."""
        return float(self.per_sample.double().std() / math.sqrt(len(self.per_sample)))


@dataclass(frozen=True)
class Levels:
    """``count`` equal steps from ``bottom`` to ``top``, numbers or tensors that broadcast over a sample, float64."""

    count: int
    bottom: Tensor
    top: Tensor

    @property
    def width(self) -> Tensor:
        """Distance of neighbouring levels."""
        return (self.top - self.bottom) / (self.count - 1)


def bits_per_dim(
    field: BaseField,
    x_1: Tensor,
    *,
    levels: int,
    low: float | Tensor = -1.0,
    high: float | Tensor = 1.0,
    dequantise: str = "uniform",
    draws: int = 1,
    generator: torch.Generator | None = None,
    **options: Any,
) -> BitsPerDim:
    """Bits per dimension of data on ``levels`` equal steps from ``low`` to ``high``: 256 for 8-bit images, 17 for digits.

    An upper bound of -log2 P(x)/D, unbiased over noise that makes the levels continuous, averaged over ``draws``:

    - "uniform": z = x + delta (u - 1/2) over cells of width delta = (high - low)/(levels - 1), and -(log2 p_1(z) + D log2 delta)/D
      (Theis et al. 2016). Only for networks that were trained on such z: those trained on bare levels are infinitely sharp.
    - "path": the path's own noise at the time t at which alpha delta = 5 sigma, x_t = alpha x + sigma e, and the level read back from
      x_t by Bayes' rule under equal odds: -(log p_t(x_t) + log P(x | x_t) - log q(x_t | x))/(D log 2)
      (the last step of Kingma et al. 2021). For any network on an affine path; what it does beyond t is not judged.

    ``low`` and ``high`` may be tensors that broadcast over a sample, where dimensions have scales of their own. ``options`` are those
    of `log_prob`, conditions included. Raises ValueError for values between the levels.
    """
    check_state(x_1, "x_1")
    bottom, top = (torch.as_tensor(end, dtype=torch.float64, device=x_1.device) for end in (low, high))
    if not (isinstance(levels, int) and levels >= 2 and bool((top > bottom).all()) and draws >= 1):
        raise ValueError(f"need levels >= 2, low < high and draws >= 1, got {levels}, {low}, {high} and {draws}")
    nats = lookup("dequantise", dequantise, {"uniform": _uniform, "path": _path})
    place = (x_1.double() - bottom) / (top - bottom) * (levels - 1)
    off = (place - place.round()).abs().max().item()
    if off > 1e-2 or place.min().item() < -0.5 or place.max().item() > levels - 0.5:
        raise ValueError(
            f"x_1 must lie on {levels} levels from {bottom.min():g} to {top.max():g}, got values from {x_1.min().item():g} to "
            f"{x_1.max().item():g}, up to {off:.2g} of a step between levels: give levels=, low= and high= of the data"
        )
    if options.get("divergence", "exact") != "exact" and "seeds" not in options:
        options["generator"] = generator
    grid = Levels(levels, bottom, top)
    scale = -1.0 / (x_1[0].numel() * math.log(2.0))
    stacked = torch.stack([scale * nats(field, x_1, grid, generator, options) for _ in range(draws)])
    return BitsPerDim(per_sample=stacked.mean(0), draw_std=stacked.std(0) if draws > 1 else None)


def _uniform(
    field: BaseField, x: Tensor, levels: Levels, generator: torch.Generator | None, options: dict[str, Any]
) -> Tensor:
    """log p_1(z) + D log delta, (B,)."""
    u = torch.rand(x.shape, generator=generator, dtype=working_dtype(x), device=x.device)
    cells = levels.width.log().expand(x.shape[1:]).sum()
    return log_prob(field, x + levels.width.to(u) * (u - 0.5), **options) + cells


def _path(
    field: BaseField, x: Tensor, levels: Levels, generator: torch.Generator | None, options: dict[str, Any]
) -> Tensor:
    """log p_t(x_t) + log P(x | x_t) - log q(x_t | x) with q = N(alpha x, sigma² I), (B,)."""
    if not isinstance(field.path, AffinePath):
        raise TypeError(f"dequantise='path' needs an AffinePath, got {field.path!r}: take 'uniform'")
    schedule = field.path.schedule
    t = schedule.t_of_logsnr(torch.log(SEPARATION / levels.width.min()))
    coefs = schedule(t)
    alpha, sigma = float(coefs.alpha), float(coefs.sigma)
    noise = Noise(generator).normal(x.to(working_dtype(x)), t, t)
    x_t = combine(alpha, x.to(noise), sigma, noise)
    total = torch.full_like(x_t, -math.inf)
    for k in range(levels.count):
        level = (levels.bottom + k * levels.width).to(x_t)
        total = torch.logaddexp(total, -((x_t - alpha * level) ** 2) / (2.0 * sigma**2))
    # |x_t - alpha x|²/(2 sigma²) stands in log q and, with the other sign, in log P(x | x_t): it cancels
    rest = x[0].numel() * math.log(sigma * math.sqrt(2.0 * math.pi)) - total.flatten(1).sum(1)
    return log_prob(field, x_t, **{**options, **_until(float(t), options)}) + rest


def _until(t: float, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a solve that begins at ``t`` instead of 1."""
    grid, steps, evaluations = (options.get(name) for name in ("grid", "steps", "evaluations"))
    solver = as_solver(options.get("solver", "dopri5"))
    if isinstance(grid, Tensor):
        raise ValueError("dequantise='path' begins at a time of its own: give a law as grid, or steps, not times")
    if solver.adaptive:
        return {"grid": torch.tensor([0.0, t], dtype=torch.float64)}
    if steps is None:
        steps = solver.steps(evaluations - 1) if evaluations is not None else solver.default_steps
    law: TimeLaw = uniform_law() if grid is None else grid
    return {"grid": t * law.grid(steps), "steps": None, "evaluations": None}
