"""What was seen, and the field given what was seen: the formula that posterior guidance shares (theory T35 with y continuous)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._autograd import ordinary, ordinary_all, pullback
from pathline._shapes import check_state
from pathline.control.operators import Operator
from pathline.field import BaseField
from pathline.guidance.base import Guided
from pathline.paths.base import Estimate
from pathline.predictions import DATA, SCORE, Prediction, conversion
from pathline.schedules import Coefs
from pathline.solvers.base import Noise


@dataclass(frozen=True)
class Observation:
    """``y`` = A x_1 + ``std`` n with n ~ N(0, I): one row for each sample, (B, ...), or a single one for all of them."""

    operator: Operator
    y: Tensor
    std: float = 0.0

    def __post_init__(self) -> None:
        check_state(self.y, "y")
        if not 0.0 <= self.std < float("inf"):
            raise ValueError(f"std must be a finite number of at least 0, got {self.std}")
        object.__setattr__(self, "y", self.operator.fill(self.y))
        if not bool(torch.isfinite(self.y).all()):
            raise ValueError("y must be finite wherever the operator sees the state")

    def residual(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y - A x."""
        y = self.y if y is None else y
        seen = self.operator(x)
        if seen.shape[1:] != y.shape[1:] or len(y) not in (1, len(x)):
            raise ValueError(
                f"y must have shape {tuple(seen.shape)} for these states, or one row of it, got {tuple(y.shape)}"
            )
        return y.to(seen) - seen


def observe(
    operator: Operator,
    x: Tensor,
    std: float = 0.0,
    *,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
) -> Observation:
    """The observation of the states ``x`` (B, ...) through ``operator``, with Gaussian noise of standard deviation ``std``."""
    y = operator(x)
    if std > 0.0:
        zero = torch.zeros((), dtype=torch.float64)
        y = y + std * Noise(generator, None if seeds is None else list(seeds)).normal(y, zero, zero)
    return Observation(operator, y, std)


@dataclass(frozen=True)
class Posterior(ABC):
    """A guidance, Field -> Field: the score moved by an estimate of grad log p(y | x_t), so that sampling draws x_1 given y.

    Use it as ``pl.sample(field, shape, guidance=PiGDM(observation))``, with any solver; each evaluation pulls back through the network. Near
    t = 0 that estimate is multiplied by 1/alpha: before ``earliest`` it is taken at that time, so that the error of a network is not
    blown up.
    """

    observation: Observation
    earliest: float = 0.02

    def __post_init__(self) -> None:
        if not isinstance(self.observation, Observation):
            raise TypeError(
                f"observation must be an Observation(operator, y, std), got {type(self.observation).__name__}"
            )
        if not 0.0 < self.earliest < 1.0:
            raise ValueError(f"earliest must be a time in (0, 1), got {self.earliest}")

    def __call__(self, field: BaseField) -> BaseField:
        return PosteriorField(field, self)

    @property
    def space(self) -> Prediction:
        """The prediction that `shift` moves."""
        return SCORE

    @abstractmethod
    def shift(self, data: Tensor, pull: Callable[[Tensor], Tensor], coefs: Coefs, y: Tensor) -> Tensor:
        """What is added to the score, from ``data`` D(x_t) (B, ...), the map v -> (dD/dx_t)^T v, and the observed ``y``."""


class PosteriorField(Guided):
    """The field given an observation."""

    def __init__(self, field: BaseField, method: Posterior) -> None:
        super().__init__(field, y=method.observation.y)
        self.method = method

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        own, cond = self.split(cond)
        time, given = ordinary(t.clamp(min=self.method.earliest)), ordinary_all(cond)
        seen: list[Tensor] = []

        def predict(x: Tensor) -> Tensor:
            estimate = self.field.evaluate(x, time, **given)
            seen.append(estimate.read(self.prediction))
            return estimate.read(DATA)

        data, pull = pullback(predict, x_t)
        value = seen[0] if torch.is_grad_enabled() else seen[0].detach()
        if bool((t < self.method.earliest).any()):
            value = self.field.evaluate(x_t, t, **cond).read(self.prediction)
        coefs = self.path.coefs(time, x_t)
        shift = self.method.shift(data, pull, Coefs(*map(torch.as_tensor, coefs)), own["y"])
        slope = conversion(coefs, self.method.space, self.prediction)[1]
        return self.path.read(x_t, t, self.prediction, value + slope * shift)
