"""What a path is: a way from a source point to a data point, and how a network's output is read along it."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction
from pathline.schedules import Coefs


class Estimate(ABC):
    """One network call at (x_t, t), read in every way; readings are computed when asked for."""

    x_t: Tensor
    t: Tensor
    prediction: Prediction
    value: Tensor

    @abstractmethod
    def read(self, prediction: Prediction) -> Tensor:
        """The estimate as ``prediction``, shape of x_t."""

    @property
    def velocity(self) -> Tensor:
        """u_t(x_t) = alpha' D + sigma' E."""
        return self.read(VELOCITY)

    @property
    def data(self) -> Tensor:
        """D = E[x_1 | x_t], the denoised state."""
        return self.read(DATA)

    @property
    def noise(self) -> Tensor:
        """E = E[x_0 | x_t]."""
        return self.read(NOISE)

    @property
    def score(self) -> Tensor:
        """grad log p_t(x_t) = -E/sigma."""
        return self.read(SCORE)


class Path(ABC):
    """A family of conditional paths with a tractable target (T8)."""

    @abstractmethod
    def sample(self, x_0: Tensor, x_1: Tensor, t: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """x_t ~ p_t(. | x_0, x_1), shape of x_1."""

    @abstractmethod
    def read(self, x_t: Tensor, t: Tensor, prediction: Prediction, value: Tensor) -> Estimate:
        """A network's ``value``, predicted as ``prediction``, as an estimate."""

    @abstractmethod
    def mix(self, estimate: Estimate, s: Tensor) -> Tensor:
        """The state at time s that the estimate points to."""

    @abstractmethod
    def start(self, x_0: Tensor) -> Tensor:
        """The state at t = 0 of a draw x_0 from the source."""

    def stops_short(self) -> bool:
        """Whether a rest of noise is left at t = 1."""
        return False

    @abstractmethod
    def coefs(self, t: Tensor, x: Tensor) -> Any:
        """The coefficients at ``t``, shape () or (B,), shaped and typed to multiply ``x``."""

    def noise_coefs(self, t: Tensor, x: Tensor) -> Coefs:
        """The coefficients whose sigma is the standard deviation of the Gaussian noise in x_t, by which a stochastic
        solver measures its own: those of the path, unless its noise is apart from the source."""
        return self.coefs(t, x)

    def velocity_gain(self, prediction: Prediction, t: Tensor) -> float:
        """How an error of ``prediction`` at the time ``t``, shape (), is magnified in the velocity."""
        return 1.0
