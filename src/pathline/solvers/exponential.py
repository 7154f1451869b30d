"""The one formula of the exponential and multistep solvers (theory T20, T36, T37).

Let a row (a, b) of constants name a prediction p = a x_1 + b x_0, and D = alpha b - sigma a. Along the flow x/D moves
with p alone, so that with the polynomial through past values p_j in any clock c(t)

    x_s = D_s (x_t / D_t + sum_j p_j int_t^s l_j(c) (D_vel / D²) dc),        D_vel = alpha sigma' - sigma alpha'.

A method is a row, a clock and nodes: (noise, sigma/alpha) is LMS and DEIS, (noise, log-SNR) DPM-Solver, (data, log-SNR)
DPM-Solver++, (displacement, alpha/(alpha + sigma)) Adams-Bashforth on flows; one node gives DDIM whatever the row.
The integrals do not change when (alpha, sigma) are scaled by a common factor, so they are taken along the one schedule
that belongs to the clock; the path enters through the values of its clock and through D alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pathline._autograd import eager_inference
from pathline._typing import Scalar
from pathline.paths.affine import AffinePath
from pathline.predictions import Prediction
from pathline.schedules import Coefs, Linear, Schedule

NEGLIGIBLE = 1e-6
"""sigma/alpha below which a state counts as data, and alpha/sigma below which it counts as noise: the floor of a schedule and
the rounding of a table are no places for a logarithm."""


@dataclass(frozen=True)
class Clock:
    """A coordinate of time that is a function of the log-SNR: ``at(lambda)``, and the coefficients along it."""

    name: str
    at: Callable[[Tensor], Tensor]
    coefs: Callable[[Tensor], Coefs]

    def __repr__(self) -> str:
        return self.name


def _log_snr_coefs(c: Tensor) -> Coefs:
    alpha, sigma = torch.exp(0.5 * c), torch.exp(-0.5 * c)
    return Coefs(alpha, sigma, 0.5 * alpha, -0.5 * sigma)


LOG_SNR = Clock("log(alpha/sigma)", lambda level: level, _log_snr_coefs)
"""lambda = log(alpha/sigma); infinite at both ends."""
RATIO = Clock("sigma/alpha", lambda level: torch.exp(-level), lambda c: Coefs(1.0, c, 0.0, 1.0))
"""The noise-to-signal ratio, EDM's sigma; infinite at alpha = 0, zero at sigma = 0."""
SHARE = Clock("alpha/(alpha + sigma)", torch.sigmoid, Linear())
"""The time of the linear path; finite everywhere."""


class Combination(NamedTuple):
    """scale x + sum_j weights_j p_j."""

    scale: Scalar
    weights: tuple[Scalar, ...]

    def of(self, x: Tensor, values: tuple[Tensor, ...]) -> Tensor:
        """The combination of a state and past predictions."""
        out = x if isinstance(self.scale, float) and self.scale == 1.0 else self.scale * x
        overwrite = eager_inference()  # one buffer less at the peak
        for w, p in zip(self.weights, values):
            if isinstance(w, Tensor):
                out = out + w * p
            elif w != 0.0:
                out = out.add_(p, alpha=w) if overwrite and out is not x else out.add(p, alpha=w)
        return out


def affine_schedule(path: Any) -> Schedule:
    """The schedule of an affine path, or an error: on other paths there is no formula to integrate."""
    if not isinstance(path, AffinePath):
        raise TypeError(
            f"this solver integrates the coefficients of an AffinePath, got {path!r}: take 'euler', 'heun' or 'rk4'"
        )
    return path.schedule


def numbers(values: Tensor) -> list[Any]:
    """A table of coefficients as nested lists of Python numbers, which no step has to touch again; the innermost entries
    stay tensors where gradients flow into them."""
    if not (torch.is_grad_enabled() and values.requires_grad):
        return values.tolist()
    return [numbers(v) if v.ndim else v for v in values.unbind()]


def determinant(row: Prediction, coefs: Coefs) -> Scalar:
    """D = alpha b - sigma a."""
    a, b = row.row(coefs)
    return coefs.alpha * b - coefs.sigma * a


def check_row(row: Prediction) -> Prediction:
    """Refuse a prediction for which x/D is not invariant on every schedule: its row must be constant."""
    here, there = (
        row.row(Coefs(*map(torch.tensor, values))) for values in ((0.3, 0.8, 1.0, -2.0), (0.9, 0.1, 0.5, -1.0))
    )
    if any(float(u) != float(v) for u, v in zip(here, there)):
        raise ValueError(f"row must be constant in time, like DATA, NOISE or DISPLACEMENT; that of {row} is not")
    return row


def log_snr_at(schedule: Schedule, t: Tensor) -> Tensor:
    """lambda at times ``t``: -inf without signal, +inf without noise."""
    coefs = schedule(t)
    alpha, sigma = torch.as_tensor(coefs.alpha).to(t), torch.as_tensor(coefs.sigma).to(t)
    none, full = alpha <= NEGLIGIBLE * sigma, sigma <= NEGLIGIBLE * alpha
    regular = ~(none | full)
    # the values that are replaced must not enter: their gradients would be NaN
    value = torch.log(torch.where(regular, alpha, 1.0)) - torch.log(torch.where(regular, sigma, 1.0))
    value = torch.where(none, -torch.inf, value)
    return torch.where(full, torch.inf, value)


@lru_cache(maxsize=4)
def _gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] from the eigenvectors of the Jacobi matrix (Golub and Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    side = k / torch.sqrt(4.0 * k**2 - 1.0)
    values, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return (0.5 + 0.5 * values).tolist(), (vectors[0] ** 2).tolist()


def past_nodes(k: int, finite: Tensor, regular: Tensor) -> tuple[Tensor, Tensor]:
    """(index, whether it counts) of the k nodes of each step along a grid, newest first, shape (steps, k).

    ``finite`` (steps + 1,) says where the clock is finite, ``regular`` (steps,) which steps use the formula at all.
    """
    back = torch.arange(len(regular))[:, None] - torch.arange(k)
    exists = back >= 0
    back = back.clamp(min=0)
    return back, exists & finite[back] & regular[:, None]


Density: TypeAlias = Callable[[Tensor], Tensor]
"""D_vel/D² as a function of the clock: what a prediction held constant is worth per unit of the clock."""


def density(row: Prediction, clock: Clock) -> Density:
    """c -> (alpha sigma' - sigma alpha')/D² along ``clock``."""

    def at(c: Tensor) -> Tensor:
        coefs = clock.coefs(c)
        rate = coefs.alpha * coefs.dsigma - coefs.sigma * coefs.dalpha
        return torch.as_tensor(rate / determinant(row, coefs) ** 2, dtype=c.dtype).expand(c.shape)

    return at


Moment: TypeAlias = Callable[[Density, Tensor, Tensor, Tensor], Tensor]
"""(density, start, stop, mass) -> an approximation of int (c - start) density dc, used where two nodes are given."""


def midpoint_moment(worth: Density, start: Tensor, stop: Tensor, mass: Tensor) -> Tensor:
    """The whole mass at the middle of the interval: DPM-Solver's second order, and B_2(h) of UniPC."""
    return 0.5 * (stop - start) * mass


def plain_moment(worth: Density, start: Tensor, stop: Tensor, mass: Tensor) -> Tensor:
    """The density of the end throughout: B_1(h) of UniPC."""
    return 0.5 * (stop - start) ** 2 * worth(stop)


def node_weights(
    worth: Density, nodes: Tensor, valid: Tensor, start: Tensor, stop: Tensor, moment: Moment | None = None
) -> Tensor:
    """int_start^stop l_j(c) worth(c) dc for each of n intervals, shape (n, k), float64.

    ``nodes`` (n, k) are clock values of which ``valid`` (n, k) count; start and stop are (n,). All integrands in use are
    entire or polynomial in their clock, so that 64 Gauss nodes leave rounding alone. ``moment`` replaces the exact
    first moment where exactly two nodes count, one of them the start, as published solvers do.
    """
    place, share = (torch.tensor(v, dtype=torch.float64) for v in _gauss_legendre(64))
    width = stop - start
    c = start[:, None] + width[:, None] * place
    mass = worth(c) * share * width[:, None]  # (n, q)
    other = (
        valid[:, :, None] & valid[:, None, :] & ~torch.eye(nodes.shape[1], dtype=torch.bool)
    )  # (n, j, m): m takes part in l_j
    gaps = torch.where(other, nodes[:, :, None] - nodes[:, None, :], 1.0)
    factors = (c[:, None, None, :] - nodes[:, None, :, None]) / gaps[..., None]
    basis = torch.where(other[..., None], factors, 1.0).prod(2)  # (n, j, q)
    weights = torch.where(valid, (basis * mass[:, None, :]).sum(2), 0.0)
    if moment is None:
        return weights
    total = mass.sum(1)
    span = torch.where(valid, nodes - start[:, None], 0.0).sum(1)
    two = (valid.sum(1) == 2) & (span != 0.0)
    far = moment(worth, start, stop, total) / torch.where(two, span, 1.0)
    approximate = torch.where(nodes == start[:, None], (total - far)[:, None], far[:, None])
    return torch.where(valid & two[:, None], approximate, weights)
