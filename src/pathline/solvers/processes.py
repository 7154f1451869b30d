"""Processes of the theory, dX = f(X, t) dt + g(X, t) dW, as objects to simulate (theory T3, T6, T14, T15, T22, T24).

A process runs in its own time: seconds for Ornstein-Uhlenbeck, diffusion time s = 1 - t for the noising processes,
the clock of the flow for `Family`. `simulate` runs any of them.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline._typing import Scalar
from pathline.schedules import Coefs, CustomSchedule, Schedule


class Process(ABC):
    """dX = f dt + g dW with noise of its own for every entry of the state."""

    additive: bool = True
    """Whether g depends on time alone."""

    @abstractmethod
    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t), shape of x; ``t`` is () or (B,)."""

    @abstractmethod
    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        """g(x, t) >= 0, a number or a tensor that multiplies the entries of x."""


@dataclass(frozen=True)
class SDE(Process):
    """Any drift f(x, t) and diffusion: a number, a function g(t) of time alone, or g(x, t)."""

    f: Callable[[Tensor, Tensor], Tensor]
    g: "float | Callable[..., Scalar]"
    additive: bool = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise TypeError(f"f must be a function f(x, t), got {type(self.f).__name__}")
        count = len(inspect.signature(self.g).parameters) if callable(self.g) else 1
        if count not in (1, 2):
            raise TypeError(f"g must be a number, a function g(t) or a function g(x, t), got one of {count} arguments")
        object.__setattr__(self, "additive", count == 1)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return self.f(x, t)

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        if not callable(self.g):
            return self.g
        return self.g(t) if self.additive else self.g(x, t)


@dataclass(frozen=True, kw_only=True)
class BrownianMotion(Process):
    """dX = g dW: N(x_0, g² t) at the time t (T6)."""

    g: float = 1.0

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.g

    def mean(self, x_0: Tensor, t: "Tensor | float") -> Tensor:
        """E[X_t | X_0 = x_0]."""
        return x_0

    def variance(self, t: "Tensor | float") -> Tensor:
        """Variance of every entry of X_t given X_0."""
        return self.g**2 * torch.as_tensor(t, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck(Process):
    """dX = -theta X dt + g dW: N(x_0 e^(-theta t), g²(1 - e^(-2 theta t))/(2 theta)) at the time t (T6)."""

    theta: float = 1.0
    g: float = math.sqrt(2.0)

    def __post_init__(self) -> None:
        if not self.theta > 0.0:
            raise ValueError(f"theta must be positive, got {self.theta}: without it use BrownianMotion")

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -self.theta * x

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.g

    def mean(self, x_0: Tensor, t: "Tensor | float") -> Tensor:
        """E[X_t | X_0 = x_0]."""
        return torch.exp(-self.theta * torch.as_tensor(t, dtype=torch.float64)).to(x_0.dtype) * x_0

    def variance(self, t: "Tensor | float") -> Tensor:
        """Variance of every entry of X_t given X_0; g²/(2 theta) in the long run."""
        rate = 2.0 * self.theta
        return -torch.expm1(-rate * torch.as_tensor(t, dtype=torch.float64)) * self.g**2 / rate


@dataclass(frozen=True, kw_only=True)
class GeometricBrownianMotion(Process):
    """dX = mu X dt + g X dW, the standard test of noise that depends on the state: X_t = x_0 exp((mu - g²/2) t + g W_t)."""

    mu: float = 0.0
    g: float = 1.0
    additive: bool = field(init=False, default=False)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return self.mu * x

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.g * x

    def exact(self, x_0: Tensor, t: "Tensor | float", w: Tensor) -> Tensor:
        """X_t of the Brownian path with W_t = ``w``."""
        return x_0 * torch.exp((self.mu - 0.5 * self.g**2) * t + self.g * w)

    def mean(self, x_0: Tensor, t: "Tensor | float") -> Tensor:
        """E[X_t | X_0 = x_0]."""
        return x_0 * torch.exp(self.mu * torch.as_tensor(t, dtype=torch.float64)).to(x_0.dtype)

    def second_moment(self, x_0: Tensor, t: "Tensor | float") -> Tensor:
        """E[X_t² | X_0 = x_0]."""
        rate = 2.0 * self.mu + self.g**2
        return x_0**2 * torch.exp(rate * torch.as_tensor(t, dtype=torch.float64)).to(x_0.dtype)


@dataclass(frozen=True)
class Langevin(Process):
    """dX = (g²/2) grad log p(X) dt + g dW keeps p stationary (T6). ``log_prob`` maps (B, ...) to (B,), up to a constant."""

    log_prob: Callable[[Tensor], Tensor]
    g: float = math.sqrt(2.0)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(point).sum(), point)
        return (0.5 * self.g**2) * score

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.g


def noising_eta(coefs: Coefs, floor: float = 1e-3) -> Scalar:
    """g²/2 of the forward noising process, sigma² lambda' = sigma² alpha'/alpha - sigma sigma' (T15).

    Infinite where alpha vanishes, hence the floor under alpha; written without a division by sigma.
    """
    alpha = torch.as_tensor(coefs.alpha).clamp(min=floor)
    return coefs.sigma * (coefs.sigma * (coefs.dalpha / alpha) - coefs.dsigma)


@dataclass(frozen=True)
class Noising(Process):
    """Data to noise in diffusion time s = 1 - t: dX = -(alpha'/alpha) X ds + sqrt(2 sigma² lambda') dW (T15, T22, T24).

    From x_1 at s = 0 its marginal is N(alpha x_1, sigma² I) if the schedule has sigma = 0 there, for every schedule: VP is
    dX = -beta/2 X ds + sqrt(beta) dW, VE is dX = sqrt(d sigma²/ds) dW, `sub_vp` the sub-VP process. Schedules without
    signal at t = 0 (Linear, Trig) have an infinite rate at s = 1: stop before.
    """

    schedule: Schedule

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        coefs = self._coefs(x, t)
        return (-coefs.dalpha / torch.as_tensor(coefs.alpha).clamp(min=1e-3)) * x

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return torch.as_tensor(2.0 * noising_eta(self._coefs(x, t))) ** 0.5

    def _coefs(self, x: Tensor, t: Tensor) -> Coefs:
        return self.schedule(1.0 - expand_time(torch.as_tensor(t), x))


def sub_vp(*, beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The sub-VP schedule (Song et al. 2021): alpha as in `VP`, sigma = 1 - alpha²."""

    def total(t: Tensor) -> Tensor:
        s = 1.0 - t
        return s * (beta_min + 0.5 * (beta_max - beta_min) * s)

    return CustomSchedule(alpha=lambda t: torch.exp(-0.5 * total(t)), sigma=lambda t: -torch.expm1(-total(t)))


@dataclass(frozen=True, kw_only=True)
class Reversed(Process):
    """The reversal of ``process`` in time tau = end - t (T15; Anderson 1982).

    dY = [-f(Y, t) + (1 + k²)/2 g² s(Y, t)] dtau + k g dW, with ``score`` s(x, t) of the marginals of the forward process.
    ``noise`` k = 1 is the classical reverse SDE, k = 0 the probability-flow ODE; every k has the same marginals.
    """

    process: Process
    score: Callable[[Tensor, Tensor], Tensor]
    end: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not self.process.additive:
            raise ValueError("only noise that depends on time alone is reversed here")
        if not self.noise >= 0.0:
            raise ValueError(f"noise must not be negative, got {self.noise}")

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        forward = self.end - t
        square = self.process.diffusion(x, forward) ** 2
        pull = 0.5 * (1.0 + self.noise**2) * square
        return pull * self.score(x, forward) - self.process.drift(x, forward)

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.noise * self.process.diffusion(x, self.end - t)
