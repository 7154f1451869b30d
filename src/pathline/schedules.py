"""Schedules: t -> (alpha, sigma) and their derivatives, in closed form (theory T21-T25).

A schedule fixes a Gaussian path x_t = alpha_t x_1 + sigma_t x_0 with t = 0 noise and t = 1 data.
It is a function of the time alone: elementwise on a tensor of any shape and floating dtype, in that dtype.
`t_of_logsnr` inverts lambda_t = log(alpha_t / sigma_t), which every schedule increases (T20).

Where sigma' is infinite at t = 1 (VP, cosine), sigma is held above a floor of `SIGMA_FLOOR`, in value and in
derivative alike, so that products such as sigma sigma' keep their finite limits.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pathline._typing import Scalar

SIGMA_FLOOR = {torch.float64: 1e-8, torch.float32: 1e-5}


class Coefs(NamedTuple):
    """alpha_t, sigma_t and their time derivatives; each broadcasts over the state."""

    alpha: Scalar
    sigma: Scalar
    dalpha: Scalar
    dsigma: Scalar


def _floor(t: Tensor) -> float:
    return SIGMA_FLOOR.get(t.dtype, 1e-3)


def log_snr(coefs: Coefs) -> Tensor:
    """lambda_t = log(alpha_t / sigma_t), the half log-SNR; infinite where alpha or sigma vanishes."""
    return torch.log(torch.as_tensor(coefs.alpha)) - torch.log(torch.as_tensor(coefs.sigma))


def log_snr_rate(coefs: Coefs) -> Scalar:
    """lambda'_t = alpha'/alpha - sigma'/sigma (T17)."""
    return coefs.dalpha / coefs.alpha - coefs.dsigma / coefs.sigma


def hazard(kappa: Scalar, dkappa: Scalar) -> Scalar:
    """h_t = kappa' / (1 - kappa): the one coefficient that flat, curved and discrete paths share (T41, T42)."""
    return dkappa / (1.0 - kappa)


class Schedule(ABC):
    """t -> `Coefs`. A new schedule needs `__call__` and `t_of_logsnr`; `testing.check_schedule` judges it."""

    @abstractmethod
    def __call__(self, t: Tensor) -> Coefs:
        """Coefficients at ``t``, a tensor of any shape with values in [0, 1]."""

    @abstractmethod
    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        """The time at which log(alpha/sigma) = ``logsnr``, clamped to [0, 1]."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda_t = log(alpha_t / sigma_t)."""
        return log_snr(self(t))


@dataclass(frozen=True)
class Linear(Schedule):
    """Conditional optimal transport, also called rectified flow (T12, T21): alpha = t, sigma = 1 - t."""

    def __call__(self, t: Tensor) -> Coefs:
        return Coefs(t, torch.rsub(t, 1.0), 1.0, -1.0)  # 1 - t without Python's detour: every training step is here

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.sigmoid(logsnr)


@dataclass(frozen=True)
class Lipman(Schedule):
    """Flow matching of Lipman et al. (2023, eq. 20): alpha = t, sigma = 1 - (1 - sigma_min) t; `Linear` is sigma_min = 0.

    The rest of noise ``sigma_min`` at t = 1 keeps conditional densities finite there.
    """

    sigma_min: float = 1e-4

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_min < 1.0:
            raise ValueError(f"sigma_min must lie in (0, 1), got {self.sigma_min}: without one use Linear()")

    def __call__(self, t: Tensor) -> Coefs:
        slope = 1.0 - self.sigma_min
        return Coefs(t, 1.0 - slope * t, 1.0, -slope)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return (1.0 / (torch.exp(-logsnr) + (1.0 - self.sigma_min))).clamp(max=1.0)


@dataclass(frozen=True, kw_only=True)
class VP(Schedule):
    """Variance preserving with linear beta (T22): alpha = exp(-B/2), alpha² + sigma² = 1.

    B(s) = beta_min s + (beta_max - beta_min) s²/2 in diffusion time s = 1 - t. At t = 0 a rest of the signal
    stays: alpha_0 = exp(-B(1)/2), 0.0066 at the usual settings.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.beta_min <= self.beta_max:
            raise ValueError(f"need 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}")

    def __call__(self, t: Tensor) -> Coefs:
        s = 1.0 - t
        beta = self.beta_min + (self.beta_max - self.beta_min) * s
        total = s * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * s)
        alpha = torch.exp(-0.5 * total)
        sigma = torch.sqrt(-torch.expm1(-total)).clamp(min=_floor(t))
        dalpha = 0.5 * beta * alpha
        return Coefs(alpha, sigma, dalpha, -alpha * dalpha / sigma)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        total = F.softplus(-2.0 * logsnr)
        slope = self.beta_max - self.beta_min
        s = 2.0 * total / (self.beta_min + torch.sqrt(self.beta_min**2 + 2.0 * slope * total))
        return (1.0 - s).clamp(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Improved-DDPM cosine (T23): alpha = cos(theta_s)/cos(theta_0), theta_s = (pi/2)(s + offset)/(1 + offset), s = 1 - t."""

    offset: float = 0.008

    def __post_init__(self) -> None:
        if not 0.0 < self.offset < 1.0:
            raise ValueError(f"offset must lie in (0, 1), got {self.offset}: without one use Trig()")

    def __call__(self, t: Tensor) -> Coefs:
        rate = 0.5 * math.pi / (1.0 + self.offset)
        start = rate * self.offset
        # cos(theta) written as sin(rate t): exact at t = 0, where theta = pi/2
        alpha = torch.sin(rate * t) / math.cos(start)
        dalpha = rate * torch.cos(rate * t) / math.cos(start)
        # 1 - alpha² as sin(theta - start) sin(theta + start) / cos(start)²: no cancellation near t = 1
        theta = rate * (1.0 - t) + start
        squared = torch.sin(rate * (1.0 - t)) * torch.sin(theta + start) / math.cos(start) ** 2
        sigma = torch.sqrt(squared.clamp(min=_floor(t) ** 2))
        return Coefs(alpha, sigma, dalpha, -alpha * dalpha / sigma)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        rate = 0.5 * math.pi / (1.0 + self.offset)
        alpha = torch.exp(-0.5 * F.softplus(-2.0 * logsnr))
        near = torch.asin((alpha * math.cos(rate * self.offset)).clamp(0.0, 1.0)) / rate
        # arcsin has no digits left near alpha = 1: there invert the product form of sigma² instead
        sigma2 = torch.sigmoid(-2.0 * logsnr)
        start = rate * self.offset
        sine = torch.sqrt(math.sin(start) ** 2 + sigma2 * math.cos(start) ** 2).clamp(0.0, 1.0)
        far = 1.0 - (torch.asin(sine) - start) / rate
        return torch.where(logsnr > 0.0, far, near).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Trig(Schedule):
    """Trigonometric (T23): alpha = sin(pi t/2), sigma = cos(pi t/2)."""

    def __call__(self, t: Tensor) -> Coefs:
        half = 0.5 * math.pi
        alpha = torch.sin(half * t)
        sigma = torch.sin(half * (1.0 - t))  # = cos(half t), and exactly 0 at t = 1
        return Coefs(alpha, sigma, half * sigma, -half * alpha)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.atan2(torch.exp(logsnr.clamp(max=0.0)), torch.exp((-logsnr).clamp(max=0.0))) * (2.0 / math.pi)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """alpha = t^n, sigma = 1 - t^n (T23); n = 1 is `Linear`."""

    n: float = 2.0

    def __post_init__(self) -> None:
        if not self.n >= 1.0:
            raise ValueError(f"n must be at least 1 (alpha' is infinite at t = 0 below), got {self.n}")

    def __call__(self, t: Tensor) -> Coefs:
        alpha = t**self.n
        dalpha = self.n * t ** (self.n - 1.0)
        # 1 - t^n through expm1: keeps its digits near t = 1
        sigma = -torch.expm1(self.n * torch.log(t.clamp(min=1e-30)))
        return Coefs(alpha, sigma, dalpha, -dalpha)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.exp(F.logsigmoid(logsnr) / self.n)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding (T24): alpha = 1, sigma = sigma_min (sigma_max/sigma_min)^(1 - t).

    A sampler starts at sigma_0 x_0 and ends at a rest of noise sigma_1 = sigma_min.
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    def __call__(self, t: Tensor) -> Coefs:
        rate = math.log(self.sigma_max / self.sigma_min)
        sigma = self.sigma_min * torch.exp(rate * (1.0 - t))
        return Coefs(1.0, sigma, 0.0, -rate * sigma)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        rate = math.log(self.sigma_max / self.sigma_min)
        return (1.0 - (-logsnr - math.log(self.sigma_min)) / rate).clamp(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class EDM(Schedule):
    """EDM (T24): alpha = 1, sigma = (a + t (b - a))^rho with a = sigma_max^(1/rho), b = sigma_min^(1/rho).

    The clock is the rho grid itself, so uniform times are the grid of Karras et al. 2022, eq. 5.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")
        if not self.rho > 0.0:
            raise ValueError(f"rho must be positive, got {self.rho}")

    def _ends(self) -> tuple[float, float]:
        return self.sigma_max ** (1.0 / self.rho), self.sigma_min ** (1.0 / self.rho)

    def __call__(self, t: Tensor) -> Coefs:
        a, b = self._ends()
        root = (1.0 - t) * a + t * b
        return Coefs(1.0, root**self.rho, 0.0, self.rho * (b - a) * root ** (self.rho - 1.0))

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        a, b = self._ends()
        return ((a - torch.exp(-logsnr / self.rho)) / (a - b)).clamp(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class DDPM(Schedule):
    """A discrete-time table as a schedule of continuous t (T25).

    ``alphas_cumprod[k]`` is alpha² at step k, k = 0 the data end, which keeps a rest of noise sigma_1 > 0. Step k
    stands at t = 1 - k/(N - 1). Between steps the squared angle atan2(sigma, alpha)², which is smooth at the data end
    and finite for tables with zero terminal SNR, follows a monotone cubic (Fritsch-Butland slopes).
    """

    alphas_cumprod: Sequence[float] | Tensor
    knots: Tensor = field(init=False, repr=False)
    slopes: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64, device="cpu")
        if table.ndim != 1 or len(table) < 3:
            raise ValueError(f"alphas_cumprod must be a 1-D table of at least 3 steps, got shape {tuple(table.shape)}")
        if not bool((table >= 0.0).all() and (table < 1.0).all() and (table.diff() < 0.0).all()):
            raise ValueError("alphas_cumprod must fall strictly within [0, 1), step 0 nearest to the data")
        knots = torch.atan2(torch.sqrt(1.0 - table), torch.sqrt(table)).flip(0) ** 2  # falling in t
        secants = knots.diff()
        inner = 2.0 * secants[1:] * secants[:-1] / (secants[1:] + secants[:-1])
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "slopes", torch.cat([secants[:1], inner, secants[-1:]]))

    @classmethod
    def scaled_linear(cls, n: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> "DDPM":
        """The latent-diffusion table: sqrt(beta) linear."""
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, n, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1.0 - betas, 0))

    @classmethod
    def linear(cls, n: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "DDPM":
        """The table of Ho et al. 2020: beta linear."""
        return cls(torch.cumprod(1.0 - torch.linspace(beta_start, beta_end, n, dtype=torch.float64), 0))

    def zero_terminal_snr(self) -> "DDPM":
        """The same table with alpha shifted and scaled to end at zero signal (Lin et al. 2023, algorithm 1)."""
        alpha = torch.cos(torch.sqrt(self.knots)).flip(0)
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return DDPM(alpha**2)

    def _cubic(self, left: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Squared angle and its slope per step at ``place`` in [0, 1] of the cell that begins at knot ``left``."""
        knots, slopes = (v.to(device=place.device, dtype=place.dtype) for v in (self.knots, self.slopes))
        y, m, m_next = knots[left], slopes[left], slopes[left + 1]
        rise = knots[left + 1] - y
        square, cube = 3.0 * rise - 2.0 * m - m_next, m + m_next - 2.0 * rise
        return (
            y + place * (m + place * (square + place * cube)),
            m + place * (2.0 * square + 3.0 * place * cube),
        )

    def __call__(self, t: Tensor) -> Coefs:
        last = len(self.knots) - 1
        left = (t.detach() * last).floor().clamp(0, last - 1).long()
        squared, slope = self._cubic(left, t * last - left)
        angle = torch.sqrt(squared)
        rate = slope * last / (2.0 * angle)
        alpha, sigma = torch.cos(angle), torch.sin(angle)
        return Coefs(alpha, sigma, -sigma * rate, alpha * rate)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        angle = torch.atan2(torch.exp((-logsnr).clamp(max=0.0)), torch.exp(logsnr.clamp(max=0.0)))
        target = (angle**2).contiguous()
        last = len(self.knots) - 1
        falling = self.knots.to(device=target.device, dtype=target.dtype)
        left = (torch.searchsorted(-falling, -target) - 1).clamp(0, last - 1)
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(54):  # bisection: the cubic is monotone on its cell
            middle = 0.5 * (low + high)
            above = self._cubic(left, middle)[0] > target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (left + 0.5 * (low + high)) / last


@dataclass(frozen=True, kw_only=True)
class CustomSchedule(Schedule):
    """A schedule from two functions; derivatives by forward-mode differentiation, the inverse by bisection.

    ``alpha`` and ``sigma`` are elementwise functions of a tensor of times, with log(alpha/sigma) increasing. They are
    read a hair inside the ends, where derivatives such as that of sqrt(1 - t) are finite.
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]

    def __call__(self, t: Tensor) -> Coefs:
        hair = 1e-9 if t.dtype == torch.float64 else 1e-6
        t, one = t.clamp(hair, 1.0 - hair), torch.ones_like(t)
        alpha, dalpha = torch.func.jvp(self.alpha, (t,), (one,))  # pyright: ignore[reportAssignmentType]
        sigma, dsigma = torch.func.jvp(self.sigma, (t,), (one,))  # pyright: ignore[reportAssignmentType]
        return Coefs(alpha, sigma, dalpha, dsigma)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        low, high = torch.zeros_like(logsnr), torch.ones_like(logsnr)
        for _ in range(54):  # to the last bit of float64
            middle = 0.5 * (low + high)
            below = torch.log(self.alpha(middle)) - torch.log(self.sigma(middle)) < logsnr
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": Linear,
    "lipman": Lipman,
    "vp": VP,
    "cosine": Cosine,
    "trig": Trig,
    "polynomial": Polynomial,
    "ve": VE,
    "edm": EDM,
    "ddpm": DDPM.linear,
    "ddpm_scaled_linear": DDPM.scaled_linear,
}
"""Schedules by the name that configurations use."""
