"""Matching along a bridge: velocity, and the score with it, for any source (theory T29)."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pathline import times as time_laws
from pathline._draws import Randomness, normal_like
from pathline._typing import Cond, Net
from pathline.couplings import Coupling, DatasetCoupling
from pathline.field import BaseField, Field
from pathline.objectives.base import check_dropout, draw_batch
from pathline.paths.bridge import BridgePath, combine_three
from pathline.predictions import VELOCITY, Prediction
from pathline.times import TimeLaw


@dataclass(frozen=True)
class BridgeMatching:
    """E sum_h w_h |p_theta,h(x_t, t) - p_h(x_t | x_0, x_1, z)|², x_t = alpha x_1 + sigma x_0 + gamma z.

    ``prediction`` VELOCITY regresses the velocity alone, which an ODE needs; `two_heads` regresses a second thing too,
    such as LATENT, E[z | x_t] = -gamma score, and then stochastic solvers run as well ([SF]2M: Tong et al. 2024,
    eq. 10; stochastic interpolants: Albergo et al. 2023, eq. 2.13 and 2.17). ``weights`` w_h, one per head, are 1
    unless given; ``times``, ``coupling`` and ``label_dropout`` as in `Matching`. With the Brownian bridge and pairs of
    Sinkhorn at regularisation 2 s² the marginals are those of the Schrödinger bridge.
    """

    path: BridgePath
    prediction: Prediction = VELOCITY
    times: TimeLaw = field(default_factory=time_laws.uniform)
    weights: tuple[float, ...] | None = None
    coupling: Coupling | DatasetCoupling | None = None
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.path, BridgePath):
            raise TypeError(f"path must be a BridgePath, got {self.path!r}: on an AffinePath use pl.Matching")
        check_dropout(self.label_dropout)
        heads = max(1, len(self.prediction.heads))
        if self.weights is not None and (len(self.weights) != heads or not all(w > 0.0 for w in self.weights)):
            raise ValueError(f"weights must be {heads} positive numbers, one per head, got {self.weights}")

    def __call__(
        self,
        net: Net | BaseField,
        x_1: Tensor,
        x_0: Tensor | None = None,
        y: Tensor | None = None,
        *,
        generator: Randomness = None,
        **cond: Any,
    ) -> Tensor:
        """The loss of a batch, a scalar; arguments as in `Matching`."""
        return self.per_sample(net, x_1, x_0, y, generator=generator, **cond).mean()

    def per_sample(
        self,
        net: Net | BaseField,
        x_1: Tensor,
        x_0: Tensor | None = None,
        y: Tensor | None = None,
        *,
        t: Tensor | None = None,
        generator: Randomness = None,
        **cond: Any,
    ) -> Tensor:
        """The loss of each sample, shape (B,), summed over the heads; the times ``t`` (B,) may be given."""
        x_0, drawn, cond = self.draw(x_1, x_0, y, cond, generator)
        t = drawn if t is None else t
        z = normal_like(x_1, generator)
        c = self.path.coefs(t, x_1)
        x_t = combine_three((c.alpha, c.sigma, c.gamma), x_1, x_0, z)
        value = self.field(net).evaluate(x_t, t, **cond).value
        error = (value - self.path.target(self.prediction, x_0, x_1, z, t)) ** 2
        if not self.prediction.heads:
            return error.flatten(1).mean(1) * (1.0 if self.weights is None else self.weights[0])
        each = error.flatten(2).mean(2)  # (B, heads)
        return each.sum(1) if self.weights is None else each @ each.new_tensor(self.weights)

    def field(self, net: Net | BaseField) -> BaseField:
        """``net`` seen as the field that this objective trains."""
        return net if isinstance(net, BaseField) else Field(net, self.path, self.prediction)

    def draw(
        self,
        x_1: Tensor,
        x_0: Tensor | None = None,
        y: Tensor | None = None,
        cond: Cond | None = None,
        generator: Randomness = None,
    ) -> tuple[Tensor, Tensor, Cond]:
        """(x_0, t, conditions) of a training batch; see `draw_batch`."""
        return draw_batch(
            x_1, x_0, y, cond, generator,
            times=self.times, coupling=self.coupling, label_dropout=self.label_dropout,
        )  # fmt: skip
