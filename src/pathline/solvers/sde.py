"""Stochastic solvers, and the family dx = (u + eta s) dt + sqrt(2 eta) dW that shares its marginals with the flow (theory T5, T14)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.paths.base import Estimate
from pathline.predictions import VELOCITY, Prediction
from pathline.schedules import Coefs
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.processes import Process, noising_eta

Eta: TypeAlias = "float | str | Callable[[Tensor], Scalar]"

ETAS: dict[str, Callable[[Coefs], Scalar]] = {
    "zero": lambda c: 0.0,
    "constant": lambda c: 1.0,
    "sigma": lambda c: c.sigma,
    "churn": lambda c: c.sigma**2,
    "reverse": noising_eta,
}
"""Named eta(t): none; 1; sigma, whose drift is bounded at both ends; sigma², the rate of EDM's churn; g²/2 of the forward
noising process, which makes the classical reverse SDE (T15)."""

RENEWAL = 0.5
"""The most of the noise that one explicit step exchanges: at 1 its variance would double, at 2 it would explode."""


def eta_at(eta: Eta, coefs: Coefs, t: Tensor) -> Scalar:
    """eta(t) = g(t)²/2 >= 0 of a number, a name or a function of time."""
    if isinstance(eta, str):
        return lookup("eta", eta, ETAS)(coefs)
    return eta(t) if callable(eta) else eta


def check_eta(eta: Eta) -> None:
    """Refuse an unknown name or a negative number."""
    if isinstance(eta, str):
        lookup("eta", eta, ETAS)
    elif not callable(eta) and not eta >= 0.0:
        raise ValueError(f"eta must not be negative, got {eta}")


@dataclass(frozen=True, kw_only=True)
class Family(Process):
    """dx = (u + eta s) dt + sqrt(2 eta) dW: the marginals p_t of the flow for every ``eta`` >= 0 (T14).

    ``eta`` is a number, a function of t, or a name of `ETAS`. ``way`` -1 runs backwards, with drift u - eta s. Given the length
    of a ``step``, eta is held below sigma²/(2 step): every eta has the right marginals, and explicit steps beyond that distort
    them (names that grow without bound at t = 0, constants near sigma = 0).
    """

    field: BaseField | Bound
    eta: Eta = "sigma"
    way: float = 1.0
    step: float | None = None

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        estimate = bind(self.field)(x, t)
        eta = self.rate(x, t)
        if not isinstance(eta, Tensor) and eta == 0.0:
            return estimate.velocity
        return estimate.velocity + (self.way * eta) * estimate.score

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return (2.0 * self.rate(x, t)) ** 0.5

    def rate(self, x: Tensor, t: Tensor) -> Scalar:
        """eta(t), shaped to multiply x."""
        coefs = self.field.path.noise_coefs(t, x)
        eta = eta_at(self.eta, coefs, t)
        if self.step is None or (not isinstance(eta, Tensor) and eta == 0.0):
            return eta
        most = RENEWAL * torch.as_tensor(coefs.sigma) ** 2 / self.step
        return torch.minimum(torch.as_tensor(eta, dtype=most.dtype, device=most.device), most)


class ProcessField(BaseField):
    """A process as what the loop runs: its drift is the velocity, and nothing else can be read."""

    path = None
    prediction = VELOCITY

    def __init__(self, process: Process) -> None:
        self.process = process

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        return VelocityOnly(x_t, t, self.process.drift(x_t, t))

    def singular(self, t: Tensor) -> bool:
        return False


class VelocityOnly(Estimate):
    """A velocity of no path."""

    prediction = VELOCITY

    def __init__(self, x_t: Tensor, t: Tensor, value: Tensor) -> None:
        self.x_t, self.t, self.value = x_t, t, value

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is not VELOCITY:
            raise TypeError(
                f"only a velocity is known here, no {prediction}: choose a solver that reads nothing else, e.g. 'rk4' or 'dopri5'"
            )
        return self.value


@dataclass(frozen=True)
class _Counted(Process):
    """A process whose drift goes through the loop's tally."""

    bound: Bound
    process: Process
    additive: bool

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return self.bound(x, t).velocity

    def diffusion(self, x: Tensor, t: Tensor) -> Scalar:
        return self.process.diffusion(x, t)


def process_of(field: Bound, eta: Eta, t: Tensor, s: Tensor) -> Process:
    """What a stochastic solver steps from t to s: the process behind ``field``, or the `Family` of a flow."""
    if isinstance(field.field, ProcessField):
        process = field.field.process
        return _Counted(field, process, process.additive)
    return Family(field=field, eta=eta, way=1.0 if s > t else -1.0, step=abs(s.item() - t.item()))


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """x_s = x + h f + g sqrt(|h|) z (theory T5), with f = u + eta s and g = sqrt(2 eta) on a field.

    ``eta`` is a number, a function of t, or a name of `ETAS`; see `Family`. Weak order 1; strong order 1/2, 1 for additive noise.
    Backwards in time the drift is u - eta s, so that the marginals are kept in both directions.
    """

    eta: Eta = "sigma"
    order: int = 1
    stochastic: bool = True

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Noise:
        return noise

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Noise]:
        field, t, s = bind(field), as_time(t), as_time(s)
        noise: Noise = Noise() if state is None else state
        process = process_of(field, self.eta, t, s)
        h = s - t
        shaken = (h.abs() ** 0.5 * process.diffusion(x, t)) * noise.normal(x, t, s)
        return x + h * process.drift(x, t) + shaken, noise


@dataclass(frozen=True)
class StochasticHeun(Solver):
    """Heun's method for additive noise, Platen's explicit order-2.0 weak scheme for noise that depends on the state.

    With dw = sqrt(|h|) z, x' = x + h f + g dw and x± = x + h f ± g sqrt(h):
    x_s = x + h (f + f(x', s))/2 + dw (g + g(s))/2, and for g(x, t) the last term is
    dw (g(x+, s) + g(x-, s) + 2 g)/4 + (dw² - h)(g(x+, s) - g(x-, s))/(4 sqrt(h))   (Kloeden and Platen 1992, 15.1.1).
    Weak order 2, strong order 1; two evaluations a step. On a step into a time at which no velocity can be read, x'.
    """

    eta: Eta = "sigma"
    order: int = 2
    stochastic: bool = True

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def evaluations(self, steps: int) -> int:
        return 2 * steps

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Noise:
        return noise

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Noise]:
        field, t, s = bind(field), as_time(t), as_time(s)
        noise: Noise = Noise() if state is None else state
        process = process_of(field, self.eta, t, s)
        h = s - t
        root = h.abs() ** 0.5
        dw = root * noise.normal(x, t, s)
        g = process.diffusion(x, t)
        drifted = x + h * process.drift(x, t)
        predicted = drifted + g * dw
        if field.singular(s):
            return predicted, noise
        moved = 0.5 * (x + drifted + h * process.drift(predicted, s))
        if process.additive:
            return moved + (0.5 * (g + process.diffusion(predicted, s))) * dw, noise
        up, down = (process.diffusion(drifted + sign * root * g, s) for sign in (1.0, -1.0))
        return moved + 0.25 * ((up + down + 2.0 * g) * dw + (up - down) * ((dw**2 - root**2) / root)), noise
