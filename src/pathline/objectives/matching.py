"""Conditional matching of any prediction in any loss space (theory T9-T13, T18)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline._draws import Randomness
from pathline._typing import Cond, Net
from pathline.couplings import Coupling, DatasetCoupling
from pathline.field import BaseField, Field
from pathline.guidance.base import check_rates, drop
from pathline.objectives.base import check_dropout, draw_batch
from pathline.objectives.weights import Weight
from pathline.paths.affine import AffinePath
from pathline.predictions import Prediction, combine, gain
from pathline.schedules import Coefs
from pathline.times import TimeLaw


@dataclass(frozen=True)
class Matching:
    """E_{t, x_0, x_1} w(t) |p_theta(x_t, t) - p(x_t | x_0, x_1)|²: flow, score, noise and data matching alike.

    The network predicts ``prediction`` along ``path``; the squared error, a mean over the dimensions of a sample, is
    counted in ``loss_in`` (the prediction itself unless told otherwise) by the known factor (D'/D)², and multiplied
    by ``weight``, which brings its own space. ``clip`` holds the divisor D of that factor away from zero, 0.05 as in
    "Back to Basics" unless a weight is given, whose product is bounded by itself. ``times`` draws t, ``coupling``
    pairs source and data (independent if None), ``label_dropout`` is the chance that a sample trains the empty
    condition (`guidance.null_like`). ``condition_dropout`` drops several conditions, jointly (a number) or separately (chances
    by name), see `guidance.drop`; it comes on top of ``label_dropout``, which concerns y alone.
    """

    path: AffinePath
    prediction: Prediction
    loss_in: Prediction | None = None
    times: TimeLaw = field(default_factory=time_laws.uniform)
    weight: Weight | None = None
    coupling: Coupling | DatasetCoupling | None = None
    label_dropout: float = 0.1
    clip: float | None = None
    condition_dropout: "float | Mapping[str, float]" = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.label_dropout)
        check_rates(self.condition_dropout)
        if self.weight is not None and self.loss_in not in (None, self.weight.space):
            raise ValueError(
                f"{self.weight!r} weighs the {self.weight.space} error, but loss_in={self.loss_in}: give one of the two"
            )
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"clip must be positive, got {self.clip}")

    @property
    def space(self) -> Prediction:
        """The prediction in which the error is counted."""
        if self.weight is not None:
            return self.weight.space
        return self.prediction if self.loss_in is None else self.loss_in

    def factor(self, coefs: Coefs) -> "Tensor | float":
        """What multiplies the squared error of the network's own prediction: weight times (D'/D)²."""
        clip = self.clip if self.clip is not None else (0.05 if self.weight is None else 1e-4)
        change = gain(coefs, self.prediction, self.space, clip)
        return change if self.weight is None else self.weight.of(coefs) * change  # pyright: ignore[reportReturnType]

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
        """The loss of a batch, a scalar.

        ``x_1`` (B, ...) data; ``x_0`` source points to be coupled with it, Gaussian noise if None; ``y`` (B,) labels
        or (B, C) vectors, dropped at the rate `label_dropout`; further conditions are dropped at `condition_dropout`.
        """
        x_0, t, cond = self.draw(x_1, x_0, y, cond, generator)
        value, target, coefs = self.pair(self.field(net), x_0, x_1, t, **cond)
        if self.weight is None and self.space is self.prediction:
            return torch.ops.aten.mse_loss(value, target)  # F.mse_loss without its check of the shapes, made above
        return (self.factor(coefs) * (value - target) ** 2).mean()

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
        """The loss of each sample, shape (B,); the times ``t`` (B,) may be given. Its mean is the loss."""
        x_0, drawn, cond = self.draw(x_1, x_0, y, cond, generator)
        value, target, coefs = self.pair(self.field(net), x_0, x_1, drawn if t is None else t, **cond)
        return (self.factor(coefs) * (value - target) ** 2).flatten(1).mean(1)

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
        """(x_0, t, conditions) of a training batch: source drawn and coupled, times drawn, labels dropped."""
        x_0, t, cond = draw_batch(
            x_1, x_0, y, cond, generator,
            times=self.times, coupling=self.coupling, label_dropout=self.label_dropout,
        )  # fmt: skip
        return (
            x_0,
            t,
            cond if self.condition_dropout == 0.0 else drop(cond, self.condition_dropout, generator=generator),
        )

    def pair(self, field: BaseField, x_0: Tensor, x_1: Tensor, t: Tensor, **cond: Any) -> tuple[Tensor, Tensor, Coefs]:
        """What the network returns at (x_t, t), what it should return, and the coefficients there."""
        coefs = self.path.coefs(t, x_1)
        x_t = combine(coefs.alpha, x_1, coefs.sigma, x_0)
        value = field.evaluate(x_t, t, **cond).read(self.prediction)
        return value, self.prediction.of(coefs, x_1, x_0), coefs
