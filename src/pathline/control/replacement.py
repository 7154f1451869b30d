"""Replacement: what is seen is overwritten with a noised copy of the observation (Song et al. 2021, arXiv 2011.13456, app. I.2)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline.control.around import Around
from pathline.control.base import Observation
from pathline.field import BaseField
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind
from pathline.solvers.integrate import as_solver


@dataclass(frozen=True)
class Replacement(Around):
    """After every step of ``solver``, x_s moves by A^+ (alpha_s y + sigma_s A z - A x_s) with new noise z: then A x_s is a draw of A x_s given y.

    The simple baseline: the rest of the state hears of the observation only through the network at the next step. The noise of the
    observation is not modelled. For inpainting A^+ overwrites the pixels that are known.
    """

    observation: Observation
    solver: "Solver | str" = "euler"
    order: int = 1
    one_step: bool = False
    stochastic: bool = True
    default_steps: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.observation, Observation):
            raise TypeError(
                f"observation must be an Observation(operator, y, std), got {type(self.observation).__name__}"
            )
        object.__setattr__(self, "solver", as_solver(self.solver))
        if self.inner.adaptive:
            raise ValueError(
                "replacement changes the state between steps: take a solver of fixed steps such as 'euler'"
            )

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Any:
        return noise, self.inner.start(field, x, grid, noise)

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        field, t, s = bind(field), as_time(t), as_time(s)
        noise, below = (Noise(), None) if state is None else state
        x_s, below = self.inner.step(field, x, t, s, below)
        seen, coefs = self.observation, field.path.schedule(s)
        alpha, sigma = (torch.as_tensor(c) for c in (coefs.alpha, coefs.sigma))
        target = alpha * seen.y.to(x_s) + sigma * seen.operator(noise.normal(x_s, t, s))
        return x_s + seen.operator.pinv(seen.residual(x_s, target)), (noise, below)
