"""Ancestral sampling and SDE-DPM-Solver++: exact decay of the old noise, past data predictions (theory T14, T37, T38)."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.predictions import DATA
from pathline.schedules import Schedule
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.exponential import (
    Combination,
    Moment,
    affine_schedule,
    log_snr_at,
    node_weights,
    numbers,
    past_nodes,
)

Renewal: TypeAlias = "float | Callable[[Tensor], Scalar]"


class Draw(NamedTuple):
    """What one step does, known from the grid alone."""

    t: float
    s: float
    mean: Combination
    """From the state and past data predictions."""
    noise: float
    """Weight of E, which only a state without noise does not contain."""
    spread: float
    """Weight of the fresh noise."""


@dataclass(frozen=True)
class Chain:
    """What the solver remembers; newest first."""

    noise: Noise = default(default_factory=Noise)
    plan: tuple[Draw, ...] = ()
    index: int = 0
    times: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class SDEMultistep(Solver):
    """x_s = (sigma_s/sigma_t) k x_t + alpha_s sum_j D_j int_t^s l_j(lambda) d e^{-(1 + rho)(lambda_s - lambda)} + sigma_s sqrt(1 - k²) z.

    k = e^{-rho |lambda_s - lambda_t|} is how much of the old noise is kept. The SDE is that of T14 with
    eta = rho sigma² lambda': rho = ``renewal``, a number or a function of t, is 0 for the flow and 1 for the classical
    reverse SDE. One node: alpha_s D + sigma_s (k E + sqrt(1 - k²) z), the ancestral sampler of DDPM at rho = 1, its variance that
    of the posterior q(x_s | x_t, x_1 = D). Two: SDE-DPM-Solver++(2M) with `midpoint_moment`.
    Backwards in time rho counts negative in the drift, and rho = 1 is the noising chain, which asks no network.
    Weak order 1 in general; the error of a small rho is that of the order of the flow's solver.
    """

    nodes: int
    renewal: Renewal = 1.0
    moment: Moment | None = None
    order: int = 1
    stochastic: bool = True
    one_step: bool = False

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"nodes must be at least 1, got {self.nodes}")
        if not callable(self.renewal) and not self.renewal >= 0.0:
            raise ValueError(f"renewal must not be negative, got {self.renewal}")

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Chain:
        return Chain(noise=noise, plan=self.plan(affine_schedule(field.path), grid))

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Chain]:
        field, t, s = bind(field), as_time(t), as_time(s)
        chain: Chain = Chain() if state is None else state
        times = (t, *chain.times)[: self.nodes]
        draw = self._draw(field, times, s, chain)
        estimate = field(x, t)
        values = (estimate.read(DATA), *chain.values)[: self.nodes]
        x_s = draw.mean.of(x, values)
        if draw.noise != 0.0:
            x_s = x_s + draw.noise * estimate.noise
        if draw.spread != 0.0:
            x_s = x_s.add(chain.noise.normal(x, t, s), alpha=draw.spread)
        return x_s, Chain(chain.noise, chain.plan, chain.index + 1, times, values)

    def _draw(self, field: Bound, times: tuple[Tensor, ...], s: Tensor, chain: Chain) -> Draw:
        if chain.index < len(chain.plan):
            draw = chain.plan[chain.index]
            if (draw.t, draw.s) == (times[0].item(), s.item()):
                return draw
        grid = torch.stack([v.cpu().double() for v in (*reversed(times), s)])
        return self.plan(affine_schedule(field.path), grid)[-1]

    @torch.no_grad()
    def plan(self, schedule: Schedule, grid: Tensor) -> tuple[Draw, ...]:
        """The draws along ``grid``, numbers in float64."""
        coefs = schedule(grid)
        alpha, sigma = (torch.as_tensor(v, dtype=torch.float64).expand(len(grid)) for v in coefs[:2])
        log_snr = log_snr_at(schedule, grid)
        finite = torch.isfinite(log_snr)
        regular = finite[:-1] & finite[1:]
        way = 1.0 if grid[-1] > grid[0] else -1.0
        rho = way * self._renewal(schedule, grid, log_snr, regular)
        lam = torch.where(finite, log_snr, 0.0)
        start, stop = (torch.where(regular, v, 0.0) for v in (lam[:-1], lam[1:]))
        h = torch.where(regular, stop - start, torch.inf * way)
        kept = torch.where(rho == 0.0, 1.0, torch.exp(-rho * h))

        def worth(v: Tensor) -> Tensor:
            end, rate = (u[:, None] if v.ndim == 2 else u for u in (stop, 1.0 + rho))
            return rate * torch.exp(-rate * (end - v))

        back, valid = past_nodes(self.nodes, finite, regular)
        weights = alpha[1:, None] * node_weights(worth, lam[back], valid, start, stop, self.moment)
        old = sigma[1:] * kept  # of E
        scale = torch.where(sigma[:-1] > 0.0, old / torch.where(sigma > 0.0, sigma, 1.0)[:-1], 0.0)
        # one node, and the only one where log-SNR is infinite: alpha_s D + sigma_s k E with E = (x - alpha_t D)/sigma_t
        alone = torch.zeros_like(weights)
        alone[:, 0] = alpha[1:] - scale * alpha[:-1]
        weights = torch.where(regular[:, None], weights, alone)
        noise = torch.where(sigma[:-1] > 0.0, 0.0, old)
        spread = sigma[1:] * torch.sqrt((1.0 - kept**2).clamp(min=0.0))
        rows = zip(*map(numbers, (grid[:-1], grid[1:], scale, weights, noise, spread)))
        return tuple(Draw(t, s, Combination(c, tuple(w)), e, z) for t, s, c, w, e, z in rows)

    def _renewal(self, schedule: Schedule, grid: Tensor, log_snr: Tensor, regular: Tensor) -> Tensor:
        """rho of each step: taken at the middle of its log-SNR, so that a varying one keeps second order."""
        if not callable(self.renewal):
            return torch.full((len(grid) - 1,), float(self.renewal), dtype=torch.float64)
        middle = torch.where(regular, 0.5 * (log_snr[1:] + log_snr[:-1]), 0.0)
        places = torch.where(regular, schedule.t_of_logsnr(middle), grid[:-1])
        return torch.stack([torch.as_tensor(self.renewal(t), dtype=torch.float64).reshape(()) for t in places])
