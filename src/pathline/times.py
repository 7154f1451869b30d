"""Time laws: how training draws t and how samplers space it (theory T26, T39).

A law is its quantile function on [0, 1]. `sample` draws by inversion, `grid` reads the quantiles at equal steps, so
every training law is a sampling grid and the other way round. All in this clock: t = 0 noise, t = 1 data. Laws of
papers that count the other way are mirrored here, and say so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pathline._draws import Randomness, rand
from pathline.schedules import Schedule


@dataclass(frozen=True)
class TimeLaw:
    """A distribution of t on [0, 1] by its quantile function, increasing with quantile(0) >= 0 and quantile(1) <= 1."""

    quantile: Callable[[Tensor], Tensor]
    name: str = "custom"

    def __repr__(self) -> str:
        return f"times.{self.name}"

    def sample(
        self,
        n: int,
        *,
        generator: Randomness = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """``n`` independent draws, shape (n,)."""
        return self.quantile(rand(n, generator, device=device, dtype=dtype))

    def grid(self, steps: int) -> Tensor:
        """``steps + 1`` increasing times from 0 to 1, float64 on the CPU."""
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        times = self.quantile(torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64))
        return torch.cat([times.new_zeros(1), times[1:-1].clamp(0.0, 1.0), times.new_ones(1)])


def _identity(u: Tensor) -> Tensor:
    return u


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be positive and finite, got {value}")


def uniform() -> TimeLaw:
    """t ~ U(0, 1)."""
    return TimeLaw(_identity, "uniform()")


def logit_normal(mean: float = 0.0, std: float = 1.0) -> TimeLaw:
    """logit(t) ~ N(mean, std²): t = sigmoid(mean + std Phi^-1(u)). A negative mean favours noisy times.

    Same sign as "Back to Basics"; SD3 counts time backwards, so its mean m is -m here.
    """
    _positive("std", std)
    return TimeLaw(lambda u: torch.sigmoid(mean + std * torch.special.ndtri(u)), f"logit_normal({mean:g}, {std:g})")


def mode(scale: float = 1.29) -> TimeLaw:
    """SD3's heavy-tailed law, mirrored: t = u + scale (cos²(pi u/2) - 1 + u), monotone for -1 <= scale <= 2/(pi - 2)."""
    if not -1.0 <= scale <= 2.0 / (math.pi - 2.0):
        raise ValueError(f"scale must lie in [-1, {2.0 / (math.pi - 2.0):.4f}] to be monotone, got {scale}")
    return TimeLaw(lambda u: u + scale * (torch.cos(0.5 * math.pi * u) ** 2 - 1.0 + u), f"mode({scale:g})")


def cosmap() -> TimeLaw:
    """The law under which the linear path's log-SNR is that of the cosine schedule: t = tan(pi u/2)/(1 + tan(pi u/2))."""

    def quantile(u: Tensor) -> Tensor:
        sine, cosine = torch.sin(0.5 * math.pi * u), torch.sin(0.5 * math.pi * (1.0 - u))
        return sine / (sine + cosine)

    return TimeLaw(quantile, "cosmap()")


@lru_cache(maxsize=32)
def _beta_table(a: float, b: float, nodes: int = 8193) -> tuple[Tensor, Tensor]:
    """(cdf, angle) of t = sin²(angle): the density there, 2 sin^(2a-1) cos^(2b-1), is bounded for a, b >= 1/2."""
    angle = torch.linspace(0.0, 0.5 * math.pi, nodes, dtype=torch.float64)
    middle = 0.5 * (angle[1:] + angle[:-1])

    def density(x: Tensor) -> Tensor:
        return torch.sin(x) ** (2.0 * a - 1.0) * torch.sin(0.5 * math.pi - x).clamp(min=0.0) ** (2.0 * b - 1.0)

    cells = (density(angle[1:]) + density(angle[:-1]) + 4.0 * density(middle)) / 6.0  # Simpson on each cell
    cdf = torch.cat([cells.new_zeros(1), torch.cumsum(cells, 0)])
    return cdf / cdf[-1], angle


def beta(a: float, b: float) -> TimeLaw:
    """t ~ Beta(a, b), a, b >= 1/2; the quantile is read from a fine table (error below 1e-6)."""
    for name, value in (("a", a), ("b", b)):
        if not (math.isfinite(value) and value >= 0.5):
            raise ValueError(f"{name} must be at least 0.5, got {value}")

    def quantile(u: Tensor) -> Tensor:
        cdf, angle = (table.to(u.device) for table in _beta_table(float(a), float(b)))
        level = u.double().contiguous()
        right = torch.searchsorted(cdf, level).clamp(1, len(cdf) - 1)
        span = (cdf[right] - cdf[right - 1]).clamp(min=1e-300)
        place = (level - cdf[right - 1]) / span
        return (torch.sin(angle[right - 1] + place * (angle[right] - angle[right - 1])) ** 2).to(u.dtype)

    return TimeLaw(quantile, f"beta({a:g}, {b:g})")


def shifted(shift: float, law: TimeLaw | None = None) -> TimeLaw:
    """Resolution shift of another law: t' = t / (t + shift (1 - t)); shift > 1 favours noise (SD3's sigma shift).

    It moves the log-SNR of the linear path by -log(shift).
    """
    _positive("shift", shift)
    base = uniform() if law is None else law

    def quantile(u: Tensor) -> Tensor:
        t = base.quantile(u)
        return t / (t + shift * (1.0 - t))

    return TimeLaw(quantile, f"shifted({shift:g}, {base.name})")


def log_snr_normal(schedule: Schedule, mean: float = 1.2, std: float = 1.2) -> TimeLaw:
    """log(alpha/sigma) ~ N(mean, std²) under ``schedule``. EDM's ln sigma ~ N(-1.2, 1.2²) is mean = 1.2, std = 1.2."""
    _positive("std", std)
    return TimeLaw(
        lambda u: schedule.t_of_logsnr(mean + std * torch.special.ndtri(u)),
        f"log_snr_normal({schedule!r}, {mean:g}, {std:g})",
    )


def _within(schedule: Schedule, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] that the log-SNR of ``schedule`` runs through."""
    first, last = schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return max(low, first), min(high, last)


def log_snr_uniform(schedule: Schedule, low: float = -7.0, high: float = 7.0) -> TimeLaw:
    """Equal steps of log-SNR between ``low`` and ``high`` (T39), cut to the schedule's range; a grid starts at 0 and ends at 1."""
    if not low < high:
        raise ValueError(f"need low < high, got {low} and {high}")
    first, last = _within(schedule, low, high)
    return TimeLaw(
        lambda u: schedule.t_of_logsnr(first + (last - first) * u), f"log_snr_uniform({schedule!r}, {low:g}, {high:g})"
    )


def karras(schedule: Schedule, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> TimeLaw:
    """Karras et al. 2022, eq. 5, on the noise-to-signal ratio sigma/alpha of any schedule, cut to its range (T39)."""
    if not 0.0 < sigma_min < sigma_max:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    _positive("rho", rho)
    ends = _within(schedule, -math.log(sigma_max), -math.log(sigma_min))
    first, last = (math.exp(-end / rho) for end in ends)
    return TimeLaw(
        lambda u: schedule.t_of_logsnr(-rho * torch.log(first + u * (last - first))),
        f"karras({schedule!r}, {sigma_min:g}, {sigma_max:g}, {rho:g})",
    )


def cosine() -> TimeLaw:
    """Grid that is dense at both ends: t = sin²(pi u/2)."""
    return TimeLaw(lambda u: torch.sin(0.5 * math.pi * u) ** 2, "cosine()")


def power(p: float = 1.5) -> TimeLaw:
    """t = 1 - (1 - u)^p: p > 1 is dense at the data, where narrow modes ask for small steps."""
    _positive("p", p)
    return TimeLaw(lambda u: 1.0 - (1.0 - u) ** p, f"power({p:g})")


TIMES: dict[str, Callable[..., TimeLaw]] = {
    "uniform": uniform,
    "logit_normal": logit_normal,
    "mode": mode,
    "cosmap": cosmap,
    "beta": beta,
    "shifted": shifted,
    "log_snr_normal": log_snr_normal,
    "log_snr_uniform": log_snr_uniform,
    "karras": karras,
    "cosine": cosine,
    "power": power,
}
"""Time laws by the name that configurations use; the last five ask for the schedule or serve as grids."""
