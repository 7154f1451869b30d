"""The stochastic sampler of EDM on any schedule (theory T38; Karras et al. 2022, algorithm 2)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.predictions import DISPLACEMENT
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.exponential import SHARE, affine_schedule, log_snr_at
from pathline.solvers.singlestep import Singlestep

MIDPOINT_SHARE = Singlestep(DISPLACEMENT, SHARE, ((0.5, (0,)), (1.0, (1,))), 2)
MOST = 2.0**0.5 - 1.0


class ChurnState(NamedTuple):
    """Where noise comes from, and N, over which the churn is spread."""

    noise: Noise
    steps: int


@dataclass(frozen=True, kw_only=True)
class EDMChurn(Solver):
    """Raise the noise a little, then one step of Heun, in y = x/alpha and r = sigma/alpha, where dy/dr = E.

    r^ = (1 + gamma) r with gamma = min(s_churn/N, sqrt(2) - 1) for s_min <= r <= s_max, else 0;   (lines 4-6)
    y^ = y + sqrt(r^² - r²) s_noise z;   y_s = y^ + (r_s - r^)(E(y^, r^) + E(y', r_s))/2, y' by Euler.   (lines 7-11)
    N counts the steps of the grid, and the jump that ends a path which stops short. No noise is raised beyond that of
    t = 0, which has no time here, nor on the way back to noise. Where r is infinite, and on a step to r = 0, which the
    algorithm takes by Euler, the rule is the midpoint rule for the displacement in alpha/(alpha + sigma), finite at both.
    Raising noise maps each marginal exactly to another, so the order of the marginals is that of Heun. ``s_noise`` above 1
    (1.003 in the paper) makes up for a network that removes too much.
    """

    s_churn: float = 40.0
    s_min: float = 0.05
    s_max: float = 50.0
    s_noise: float = 1.0
    order: int = 2
    stochastic: bool = True

    def __post_init__(self) -> None:
        for name in ("s_churn", "s_min", "s_noise"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.s_max >= self.s_min:
            raise ValueError(f"s_max must be at least s_min = {self.s_min}, got {self.s_max}")

    def evaluations(self, steps: int) -> int:
        return 2 * steps

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> ChurnState:
        return ChurnState(noise, len(grid) - 1 + int(field.path.stops_short()))

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, ChurnState]:
        field, t, s = bind(field), as_time(t), as_time(s)
        state = ChurnState(Noise(), 1) if state is None else state
        x, t = self._raise(field, x, t, s, state)
        schedule = affine_schedule(field.path)
        ends = torch.exp(-log_snr_at(schedule, torch.stack([t, s])))
        if not bool((torch.isfinite(ends) & (ends > 0.0)).all()):
            return MIDPOINT_SHARE.step(field, x, t, s, None)[0], state
        r_t, r_s = ends.unbind()
        alpha_t, alpha_s = schedule(t).alpha, schedule(s).alpha
        y, first = x / alpha_t, field(x, t).noise
        second = field(alpha_s * (y + (r_s - r_t) * first), s).noise
        return alpha_s * (y + (0.5 * (r_s - r_t)) * (first + second)), state

    def _raise(self, field: Bound, x: Tensor, t: Tensor, s: Tensor, state: ChurnState) -> tuple[Tensor, Tensor]:
        """(alpha y^, t^)."""
        schedule = affine_schedule(field.path)
        level = log_snr_at(schedule, torch.stack([t, torch.zeros_like(t)]))
        r, highest = torch.exp(-level).unbind()
        gamma = min(self.s_churn / state.steps, MOST)
        if s < t or not self.s_min <= r <= self.s_max or gamma == 0.0:
            return x, t
        raised = torch.minimum((1.0 + gamma) * r, highest)
        t_raised = schedule.t_of_logsnr(-torch.log(raised))
        added = torch.sqrt((raised**2 - r**2).clamp(min=0.0))
        z = state.noise.normal(x, t_raised, t)
        y = x / schedule(t).alpha + (self.s_noise * added) * z
        return schedule(t_raised).alpha * y, t_raised
