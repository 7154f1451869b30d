"""What an exact field is: posterior means of both ends, density, samples, and class probabilities."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pathline._draws import normal
from pathline._shapes import check_state, check_time
from pathline.field import BaseField
from pathline.paths.affine import AffineEstimate, AffinePath
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction, combine

LOG_2PI = math.log(2.0 * math.pi)
_FLOOR = {torch.float64: 1e-10, torch.float32: 1e-6}


class ExactEstimate(AffineEstimate):
    """The posterior mean of the data and ``pull`` = -score; neither asks to divide by a vanishing coefficient."""

    __slots__ = ("_data", "_pull", "_sigma")

    def __init__(self, field: "Oracle", x_t: Tensor, t: Tensor, data: Tensor, sigma: Tensor, pull: Tensor) -> None:
        self._data, self._sigma, self._pull = data, sigma, pull
        super().__init__(field.path, x_t, t, field.prediction, data)
        self.value = self._velocity() if field.prediction is VELOCITY else self._like(data)

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is self.prediction:
            return self.value
        if prediction is VELOCITY:
            return self._velocity()
        if prediction is DATA:
            return self._like(self._data)
        if prediction is NOISE:
            return self._like(self._sigma * self._pull)
        if prediction is SCORE:
            return self._like(-self._pull)
        return prediction.of(self.coefs, self._like(self._data), self._like(self._sigma * self._pull))

    def _velocity(self) -> Tensor:
        noise = self._like(self._sigma * self._pull)
        return combine(self.coefs.dalpha, self._like(self._data), self.coefs.dsigma, noise)

    def _like(self, part: Tensor) -> Tensor:
        """A reading in the shape and dtype of x_t."""
        if part.shape == self.x_t.shape and part.dtype == self.x_t.dtype:
            return part
        return part.reshape(self.x_t.shape).to(self.x_t.dtype)


class Oracle(BaseField):
    """A field known in closed form, with the density and the samples of its marginals."""

    path: AffinePath
    shape: torch.Size
    """Trailing shape of a state."""
    labels: Tensor | None = None
    """Label of each component or point."""

    @abstractmethod
    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, **cond: Any) -> Tensor:
        """log p_t(x), shape (B,), nats."""

    @abstractmethod
    def sample_data(self, n: int, generator: torch.Generator | None = None, **cond: Any) -> Tensor:
        """n draws of x_1, shape (n, *shape)."""

    @abstractmethod
    def posterior_variance(self, x: Tensor, t: "Tensor | float", **cond: Any) -> Tensor:
        """E[|x_1 - D|² | x_t = x], summed over the dimensions, shape (B,): the least squared error of data prediction."""

    def sample(
        self, n: int, t: "Tensor | float" = 1.0, generator: torch.Generator | None = None, **cond: Any
    ) -> Tensor:
        """n exact draws from p_t, shape (n, *shape)."""
        x_1 = self.sample_data(n, generator, **cond)
        x_0 = normal(x_1.shape, generator, x_1)
        return self.path.sample(x_0, x_1, check_time(t, x_1))

    def class_prior(self) -> tuple[Tensor, Tensor]:
        """The labels, sorted, and their log-probabilities in the data; ValueError without labels."""
        raise ValueError(f"{type(self).__name__} has no labels: build it with labels=")

    def class_log_prob(self, x: Tensor, t: "Tensor | float" = 1.0) -> Tensor:
        """log p(y | x_t = x), shape (B, classes), the classes in the order of their labels (T35)."""
        classes, log_prior = self.class_prior()
        each = [self._log_density(x, check_time(t, x), int(label)) for label in classes]
        return torch.log_softmax(torch.stack(each, 1) + log_prior.to(x), dim=1)

    def class_score(self, x: Tensor, t: "Tensor | float", y: "Tensor | int") -> Tensor:
        """grad_x log p(y | x_t = x) = s(x | y) - s(x), shape of x: what classifier guidance adds (T35)."""
        return self(x, t, y=y).score - self(x, t).score

    def _log_density(self, x: Tensor, t: Tensor, y: "Tensor | int | None") -> Tensor:
        return self.log_prob(x, t, y=y)

    def reads(self) -> Callable[..., Any] | None:
        """A signature with ``y`` only where there are labels, so that a stray condition is refused."""
        return _unlabelled if self.labels is None else _labelled

    def _flat(self, x: Tensor) -> Tensor:
        """``x`` checked, as (B, D), in the dtype of `_working`."""
        check_state(x, "x_t")
        if x.shape[1:] != self.shape:
            raise ValueError(f"x_t must have shape (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        return x.reshape(len(x), -1).to(self._working(x))

    def _working(self, x: Tensor) -> torch.dtype:
        """Posterior weights subtract squares of nearly the same size: float64 where the device has it."""
        return torch.float64 if x.device.type != "mps" else torch.float32

    def _flat_coefs(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t for flat states, each () on any device or (B, 1); sigma is held above a tiny floor."""
        coefs = self.path.coefs(t, x)
        alpha, sigma = (
            c if isinstance(c, Tensor) else torch.tensor(c, dtype=torch.float64) for c in (coefs.alpha, coefs.sigma)
        )
        return alpha, sigma.clamp(min=_FLOOR[x.dtype])


def _unlabelled(x_t: Tensor, t: Tensor) -> None:
    """The conditions of a field without labels."""


def _labelled(x_t: Tensor, t: Tensor, y: Tensor) -> None:
    """The conditions of a field with labels."""


def check_labels(labels: Tensor | None, count: int) -> Tensor | None:
    """``labels`` (count,), integers from 0, or an error."""
    if labels is None:
        return None
    if labels.shape != (count,) or labels.is_floating_point():
        raise ValueError(
            f"labels must be integers of shape ({count},), one each, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if count and int(labels.min()) < 0:
        raise ValueError(f"labels must not be negative (-1 means none), got {int(labels.min())}")
    return labels


def check_y(y: "Tensor | int", labels: Tensor | None, x: Tensor) -> Tensor:
    """``y`` as (B,) on the device of x, every entry a known label or -1, or an error."""
    if labels is None:
        raise ValueError("y is given, but this oracle has no labels: build it with labels=")
    y = torch.as_tensor(y, device=x.device)
    if y.ndim > 1 or (y.ndim == 1 and len(y) != len(x)):
        raise ValueError(f"y must be one integer or have shape ({len(x)},), got {tuple(y.shape)}")
    known = torch.cat([labels.unique(), labels.new_tensor([-1])]).to(x.device)
    if not bool(torch.isin(y, known).all()):
        raise ValueError(f"y must hold labels of the mixture or -1, got values in {y.unique().tolist()}")
    return y.expand(len(x))
