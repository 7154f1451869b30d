"""The Euclidean path x_t = alpha_t x_1 + sigma_t x_0 (theory T8-T12)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline.paths.base import Estimate, Path
from pathline.predictions import DATA, NOISE, VELOCITY, Prediction, combine, conversion, convert
from pathline.schedules import Coefs, Schedule

_HALF = (torch.float16, torch.bfloat16)
_ZERO = torch.zeros((), dtype=torch.float64)
_ONE = torch.ones((), dtype=torch.float64)


class AffineEstimate(Estimate):
    """An estimate along an `AffinePath`: two equations, x_t and the prediction, for the pair (x_1, x_0)."""

    __slots__ = ("_coefs", "_path", "prediction", "t", "value", "x_t")

    def __init__(self, path: "AffinePath", x_t: Tensor, t: Tensor, prediction: Prediction, value: Tensor) -> None:
        self._path, self.x_t, self.t, self.prediction, self.value = path, x_t, t, prediction, value
        self._coefs: Coefs | None = None

    @property
    def coefs(self) -> Coefs:
        """alpha, sigma and derivatives at t, shaped to multiply x_t."""
        if self._coefs is None:
            self._coefs = self._path.coefs(self.t, self.x_t)
        return self._coefs

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is self.prediction:
            return self.value
        return convert(self.coefs, self.x_t, self.value, self.prediction, prediction)


@dataclass(frozen=True)
class AffinePath(Path):
    """x_t = alpha_t x_1 + sigma_t x_0 with the coefficients of ``schedule`` (T11; T12 for `Linear`)."""

    schedule: Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as pl.Linear(), got {self.schedule!r}")

    def coefs(self, t: Tensor, x: Tensor) -> Coefs:
        """Coefficients at ``t``, shape () or (B,), shaped and typed to multiply ``x``.

        For half-precision states the schedule is evaluated in float64 and cast at the end.
        """
        if t.ndim == 0:  # a scalar multiplies without promoting the dtype of x
            return self.schedule(t.double() if t.dtype in _HALF else t)
        coefs = self.schedule(expand_time(t.double() if x.dtype in _HALF else t, x))
        if coefs.sigma.dtype == x.dtype:  # pyright: ignore[reportAttributeAccessIssue]
            return coefs
        return Coefs(*(c.to(x.dtype) if isinstance(c, Tensor) else c for c in coefs))

    def sample(self, x_0: Tensor, x_1: Tensor, t: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        coefs = self.coefs(t, x_1)
        return combine(coefs.alpha, x_1, coefs.sigma, x_0)

    def read(self, x_t: Tensor, t: Tensor, prediction: Prediction, value: Tensor) -> AffineEstimate:
        return AffineEstimate(self, x_t, t, prediction, value)

    def mix(self, estimate: Estimate, s: Tensor) -> Tensor:
        """alpha_s D + sigma_s E: the DDIM step from the estimate's time to s (T37)."""
        data, noise = estimate.read(DATA), estimate.read(NOISE)
        coefs = self.coefs(s, data)
        return combine(coefs.alpha, data, coefs.sigma, noise)

    def start(self, x_0: Tensor) -> Tensor:
        """sigma_0 x_0: a path that starts at another scale than its source (VE, EDM) is scaled here."""
        sigma = float(self.schedule(_ZERO).sigma)
        return x_0 if sigma == 1.0 else sigma * x_0

    def stops_short(self) -> bool:
        """Whether a rest of noise is left at t = 1 (VE, EDM, DDPM tables): a last jump to D removes it."""
        return float(self.schedule(_ONE).sigma) > 1e-4

    def velocity_gain(self, prediction: Prediction, t: Tensor) -> float:
        """|D'/D|: how an error of ``prediction`` at the time ``t``, shape (), is magnified in the velocity."""
        if prediction is VELOCITY:  # asked at every step of a Runge-Kutta method
            return 1.0
        return abs(float(conversion(self.schedule(t.double()), prediction, VELOCITY)[1]))
