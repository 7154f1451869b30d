"""The momentum of adaptive projected guidance, kept where memory belongs: in the state of a solver (theory T34)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pathline._typing import Cond
from pathline.control.around import Around
from pathline.field import BaseField
from pathline.guidance.apg import APGField
from pathline.guidance.base import Guided
from pathline.paths.base import Estimate
from pathline.solvers.base import Bound, Noise, Solver, bind
from pathline.solvers.integrate import as_solver


@dataclass(frozen=True)
class Momentum(Around):
    """``solver`` on a field under `guidance.APG`, whose differences add up over the steps: d_k <- d_k + beta d_{k-1} (arXiv 2410.02416, alg. 1).

    Every step keeps the first difference that it meets; a solver of one evaluation per step (euler, ddim, ab2, dpmpp_2m) is the
    published algorithm. Use it as ``pl.sample(field, shape, solver=Momentum("ddim"), guidance=APG(4.0, momentum=-0.5), y=labels)``.
    """

    solver: "Solver | str" = "ddim"
    order: int = 1
    one_step: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "solver", as_solver(self.solver))
        if self.inner.adaptive:
            raise ValueError("momentum counts steps, so it needs a solver of fixed steps: take one such as 'ddim'")
        object.__setattr__(self, "stochastic", self.inner.stochastic)
        object.__setattr__(self, "finishes", self.inner.finishes)

    def start(self, field: Bound, x: Tensor, grid: Tensor, noise: Noise) -> Any:
        return self.inner.start(field.over(_guided(field)), x, grid, noise), None

    def step(self, field: BaseField | Bound, x: Tensor, t: Tensor, s: Tensor, state: Any) -> tuple[Tensor, Any]:
        bound = bind(field)
        below, memory = (None, None) if state is None else state
        remembering = RememberingField(_guided(bound), memory)
        x_s, below = self.inner.step(bound.over(remembering), x, t, s, below)
        return x_s, (below, remembering.memory)


def _guided(bound: Bound) -> APGField:
    if not isinstance(bound.field, APGField):
        raise TypeError("Momentum steps a field under guidance=APG(...), for which alone momentum is defined")
    return bound.field


class RememberingField(Guided):
    """An APG field within one step: it brings the memory of the steps before along and takes down its first difference."""

    def __init__(self, field: APGField, before: Tensor | None) -> None:
        super().__init__(field)
        self.guided, self.before, self.memory = field, before, before
        self._fresh = True

    def carried(self) -> Cond:
        return self.guided.carried()

    def passes(self, t: Tensor) -> float:
        return self.guided.passes(t)

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        estimate, difference = self.guided.with_memory(x_t, t, self.before, cond)
        if self._fresh:
            self.memory, self._fresh = difference, False
        return estimate
