"""The stochastic family dx = (u + eta s) dt + sqrt(2 eta) dW, which shares all marginals with the flow (theory T14)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.schedules import Coefs, log_snr_rate
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind

Eta: TypeAlias = "float | str | Callable[[Tensor], Scalar]"

ETAS: dict[str, Callable[[Coefs], Scalar]] = {
    "zero": lambda c: 0.0,
    "sigma": lambda c: c.sigma,
    # sigma² lambda' is g²/2 of the forward noising process (T15); infinite at alpha = 0, hence the floor
    "reverse": lambda c: (
        c.sigma**2 * log_snr_rate(c._replace(alpha=torch.as_tensor(c.alpha).clamp(min=1e-3)))
    ),
}
"""Named eta(t): none, proportional to sigma (bounded drift at both ends), and the classical reverse SDE."""


def eta_at(eta: Eta, coefs: Coefs, t: Tensor) -> Scalar:
    """eta(t) = g(t)²/2 >= 0 of a number, a name or a function of time."""
    if isinstance(eta, str):
        return lookup("eta", eta, ETAS)(coefs)
    return eta(t) if callable(eta) else eta


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """x_s = x + h (u + eta s) + sqrt(2 |h| eta) z (theory T5). ``eta`` is a number, a function of t, or a name of `ETAS`.

    Weak order 1. Backwards in time the drift is u - eta s, so that the marginals are kept in both directions.
    """

    eta: Eta = "sigma"
    order: int = 1
    stochastic: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.eta, str):
            lookup("eta", self.eta, ETAS)
        elif not callable(self.eta) and not self.eta >= 0.0:
            raise ValueError(f"eta must not be negative, got {self.eta}")

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Noise:
        return noise

    def step(
        self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        field, t, s = bind(field), as_time(t), as_time(s)
        noise = Noise() if state is None else state
        estimate = field(x, t)
        h = s - t
        eta = eta_at(self.eta, field.path.coefs(t, x), t)
        x = x + h * estimate.velocity + (h.abs() * eta) * estimate.score
        return x + (2.0 * h.abs() * eta) ** 0.5 * noise.normal(x, t, s), noise
