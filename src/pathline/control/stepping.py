"""Posterior methods that are steps rather than fields: the data estimate is corrected and noised anew."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.control.base import Observation
from pathline.field import BaseField
from pathline.paths.base import Estimate
from pathline.schedules import Coefs
from pathline.solvers.base import Bound, Noise, Solver, as_time, bind

Draw: TypeAlias = Callable[[Tensor], Tensor]
"""Unit normals like a tensor (B, ...), from each sample's own stream where there are seeds."""


@dataclass(frozen=True)
class PosteriorStep(Solver):
    """A step x_s = alpha_s x_1' + sigma_s x_0' with a clean state and a noise that know of the observation.

    Use it as ``pl.sample(field, shape, solver=FlowDPS(observation), steps=100)``: one evaluation a step, no gradient through the network.
    """

    observation: Observation
    data_std: float = 1.0
    order: int = 1
    stochastic: bool = True
    default_steps: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.observation, Observation):
            raise TypeError(
                f"observation must be an Observation(operator, y, std), got {type(self.observation).__name__}"
            )
        if not self.data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {self.data_std}")

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Noise:
        return noise

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Noise]:
        field, t, s = bind(field), as_time(t), as_time(s)
        if bool(s < t):
            raise ValueError("a posterior step generates: the grid must rise from noise to data")
        noise = Noise() if state is None else state
        here, there = (Coefs(*map(torch.as_tensor, field.path.schedule(time))) for time in (t, s))
        data, old = self.ends(field(x, t), here, there, lambda like: noise.normal(like, t, s))
        return there.alpha * data + there.sigma * old, noise

    @abstractmethod
    def ends(self, estimate: Estimate, here: Coefs, there: Coefs, draw: Draw) -> tuple[Tensor, Tensor]:
        """(x_1', x_0') from the estimate at t and the coefficients at t and s."""
