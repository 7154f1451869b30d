"""Bridges x_t = alpha x_1 + sigma x_0 + gamma z between any two distributions, z ~ N(0, I) (theory T29).

Every prediction is a row (a, b, c): p = a x_1 + b x_0 + c z. Two of them and x_t are three equations for (x_1, x_0, z),
so a network with two heads knows every other reading; a network with one knows what it predicts.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from pathline._draws import normal_like
from pathline._shapes import expand_time
from pathline._typing import Scalar
from pathline.paths.base import Estimate, Path
from pathline.paths.gammas import Brownian, Constant, Gamma
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction, combine, default_floor, floored
from pathline.schedules import Coefs, Linear, Schedule, Trig

Row: TypeAlias = tuple[Scalar, Scalar, Scalar]


class BridgeCoefs(NamedTuple):
    """alpha, sigma, gamma and their time derivatives; each broadcasts over the state."""

    alpha: Scalar
    sigma: Scalar
    gamma: Scalar
    dalpha: Scalar
    dsigma: Scalar
    dgamma: Scalar


def _no_row(coefs: Coefs) -> tuple[Scalar, Scalar]:
    raise TypeError("this prediction is about the noise z of a bridge, and an affine path has none: use a BridgePath")


LATENT = Prediction("latent", _no_row)
"""E[z | x_t], the denoiser of stochastic interpolants: the score is -E[z | x_t]/gamma, and this stays finite at the ends."""
DRIFT = Prediction("drift", _no_row)
"""E[alpha' x_1 + sigma' x_0 | x_t]: the velocity without the part of z."""


def two_heads(first: Prediction = VELOCITY, second: Prediction = LATENT) -> Prediction:
    """What a network with two heads predicts, (B, 2, ...); velocity and score regression unless told otherwise."""
    if first is second:
        raise ValueError(f"two heads must predict two things, got {first} twice")
    return Prediction(f"{first}+{second}", _no_row, heads=(first, second))


def row_of(prediction: Prediction, c: BridgeCoefs) -> Row:
    """(a, b, c) with p = a x_1 + b x_0 + c z."""
    if prediction is VELOCITY:
        return c.dalpha, c.dsigma, c.dgamma
    if prediction is DRIFT:
        return c.dalpha, c.dsigma, 0.0
    if prediction is LATENT:
        return 0.0, 0.0, 1.0
    if prediction is SCORE:  # of the noise z: x_0 need not be Gaussian
        return 0.0, 0.0, -1.0 / floored(c.gamma, default_floor(*c))
    return *prediction.row(Coefs(c.alpha, c.sigma, c.dalpha, c.dsigma)), 0.0


def combine_three(row: Row, x_1: Tensor, x_0: Tensor, z: Tensor) -> Tensor:
    """a x_1 + b x_0 + c z."""
    a, b, c = row
    mixed = combine(a, x_1, b, x_0)
    return mixed if not isinstance(c, Tensor) and c == 0.0 else mixed + c * z


def _cross(p: Row, q: Row) -> Row:
    return p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]


def _dot(p: Row, q: Row) -> Scalar:
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]


def solve_row(target: Row, state: Row, first: Row, second: Row, floor: float) -> Row:
    """(l, m, n) with target = l state + m first + n second, by Cramer's rule; the determinant is held above ``floor``."""
    across = _cross(first, second)
    det = floored(_dot(state, across), floor)
    return (
        _dot(target, across) / det,
        _dot(target, _cross(second, state)) / det,
        _dot(target, _cross(state, first)) / det,
    )


class BridgeEstimate(Estimate):
    """An estimate along a `BridgePath`: of one head what it predicts, of two everything."""

    __slots__ = ("_path", "prediction", "t", "value", "x_t")

    def __init__(self, path: "BridgePath", x_t: Tensor, t: Tensor, prediction: Prediction, value: Tensor) -> None:
        self._path, self.x_t, self.t, self.prediction, self.value = path, x_t, t, prediction, value

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is self.prediction:
            return self.value
        heads = self.prediction.heads or (self.prediction,)
        for place, head in enumerate(heads):
            if prediction is head:
                return self.value[:, place]
        coefs = self._path.coefs(self.t, self.x_t)
        target = row_of(prediction, coefs)
        if len(heads) == 1:
            if {prediction, heads[0]} == {LATENT, SCORE}:  # both are about z
                return (target[2] / row_of(heads[0], coefs)[2]) * self.value
            raise TypeError(
                f"the {heads[0]} alone does not tell the {prediction} on {self._path!r}: train a second head, "
                f"e.g. BridgeMatching(path, two_heads({str(heads[0]).upper()}, LATENT))"
            )
        state = (coefs.alpha, coefs.sigma, coefs.gamma)
        parts = solve_row(target, state, row_of(heads[0], coefs), row_of(heads[1], coefs), default_floor(*coefs))
        return combine_three(parts, self.x_t, self.value[:, 0], self.value[:, 1])


@dataclass(frozen=True)
class BridgePath(Path):
    """x_t = alpha_t x_1 + sigma_t x_0 + gamma_t z: alpha and sigma of ``schedule``, gamma of its own (T29).

    The velocity is alpha' x_1 + sigma' x_0 + gamma' z, the score -E[z | x_t]/gamma, whatever the distribution of x_0.
    The flow starts at a draw of the source and ends at data, blurred by gamma_1 where that is not zero (`Constant`).
    """

    schedule: Schedule
    gamma: Gamma

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as pl.Linear(), got {self.schedule!r}")
        if not isinstance(self.gamma, Gamma):
            raise TypeError(f"gamma must be a Gamma such as Brownian(1.0), got {self.gamma!r}")
        start, end = (self.schedule(torch.tensor(t, dtype=torch.float64)) for t in (0.0, 1.0))
        off = max(abs(float(v)) for v in (start.alpha, start.sigma - 1.0, end.sigma, end.alpha - 1.0))
        if off > 1e-2:
            raise ValueError(
                f"a bridge runs from its source to its data, but {self.schedule!r} misses an end by {off:.2g}: "
                "use Linear(), Trig() or Polynomial(n)"
            )

    def coefs(self, t: Tensor, x: Tensor) -> BridgeCoefs:
        """Coefficients at ``t``, shape () or (B,), shaped and typed to multiply ``x``; float64 inside for half precision."""
        half = (t if t.ndim == 0 else x).dtype not in (torch.float32, torch.float64)
        t = expand_time(t.double() if half else t, x)
        c = self.schedule(t)
        gamma, dgamma = self.gamma(t)
        found = BridgeCoefs(c.alpha, c.sigma, gamma, c.dalpha, c.dsigma, dgamma)
        if t.ndim == 0:
            return found
        return BridgeCoefs(*(v.to(x.dtype) if isinstance(v, Tensor) else v for v in found))

    def noise_coefs(self, t: Tensor, x: Tensor) -> Coefs:
        c = self.coefs(t, x)
        return Coefs(1.0, torch.as_tensor(c.gamma), 0.0, -torch.as_tensor(c.dgamma).abs())

    def at(self, x_0: Tensor, x_1: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """x_t for a given z, shape of x_1."""
        c = self.coefs(t, x_1)
        return combine_three((c.alpha, c.sigma, c.gamma), x_1, x_0, z)

    def sample(self, x_0: Tensor, x_1: Tensor, t: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.at(x_0, x_1, normal_like(x_1, generator), t)

    def target(self, prediction: Prediction, x_0: Tensor, x_1: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """What a perfect network returns at x_t: shape of x_1, with an axis of heads where there are several."""
        c = self.coefs(t, x_1)
        if prediction.heads:
            return torch.stack([combine_three(row_of(head, c), x_1, x_0, z) for head in prediction.heads], 1)
        return combine_three(row_of(prediction, c), x_1, x_0, z)

    def read(self, x_t: Tensor, t: Tensor, prediction: Prediction, value: Tensor) -> BridgeEstimate:
        return BridgeEstimate(self, x_t, t, prediction, value)

    def mix(self, estimate: Estimate, s: Tensor) -> Tensor:
        """alpha_s D + sigma_s E + gamma_s E[z | x_t]."""
        data = estimate.read(DATA)
        c = self.coefs(s, data)
        return combine_three((c.alpha, c.sigma, c.gamma), data, estimate.read(NOISE), estimate.read(LATENT))

    def start(self, x_0: Tensor) -> Tensor:
        return x_0

    def velocity_gain(self, prediction: Prediction, t: Tensor) -> float:
        heads = prediction.heads or (prediction,)
        if VELOCITY in heads:
            return 1.0
        if len(heads) == 1:
            raise TypeError(f"the {prediction} alone does not tell the velocity of a bridge: predict the velocity")
        c = self.coefs(t.double(), t.new_zeros(1, dtype=torch.float64))
        first, second = (row_of(head, c) for head in heads)
        parts = solve_row(row_of(VELOCITY, c), (c.alpha, c.sigma, c.gamma), first, second, default_floor(*c))
        return max(abs(float(part)) for part in parts[1:])


def icfm(sigma_min: float = 0.1) -> BridgePath:
    """Conditional flow matching of Tong et al. (2024): N(t x_1 + (1 - t) x_0, sigma_min² I)."""
    return BridgePath(Linear(), Constant(sigma_min))


def schrodinger_bridge(scale: float = 1.0) -> BridgePath:
    """N((1 - t) x_0 + t x_1, s² t (1 - t) I): the Schrödinger bridge between entropically coupled pairs."""
    return BridgePath(Linear(), Brownian(scale))


def variance_preserving(gamma: Gamma) -> BridgePath:
    """sin(pi t/2) x_1 + cos(pi t/2) x_0 + gamma z (Albergo and Vanden-Eijnden 2023); without z it is AffinePath(Trig())."""
    return BridgePath(Trig(), gamma)
