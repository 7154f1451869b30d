"""Classifier guidance (theory T35; Dhariwal and Nichol 2021), and a classifier of noisy states to guide with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._autograd import ordinary, ordinary_all, pullback
from pathline._draws import integers, normal
from pathline._shapes import check_state, working_dtype
from pathline.field import BaseField
from pathline.guidance.base import Guided, Weight, is_carried, weight_at
from pathline.paths.affine import AffinePath
from pathline.paths.base import Estimate
from pathline.predictions import SCORE, conversion
from pathline.times import TimeLaw, uniform

LogProb: TypeAlias = Callable[..., Tensor]
"""(x_t, t, **cond) -> log p(cond | x_t) up to a constant, (B,)."""


@dataclass(frozen=True)
class ClassifierGuidance:
    """u~ = u + w b_t grad_x log p(y | x_t), b_t = (alpha'/alpha) sigma² - sigma' sigma (T35).

    ``log_prob`` (x_t, t, **cond) -> (B,) is differentiated by autograd; `class_log_prob` makes one of a classifier. The conditions named in
    ``of`` go to it alone, the field being unconditional in them; all conditions if None. With the exact log-probability and w = 1 this
    is the conditional field. Near t = 0 b_t grows like 1/alpha while the gradient falls like alpha: before ``earliest`` both are taken
    there, so that an inexact gradient is not blown up.
    """

    weight: Weight
    log_prob: LogProb
    of: tuple[str, ...] | None = None
    earliest: float = 1e-3

    def __post_init__(self) -> None:
        if not callable(self.log_prob):
            raise TypeError(f"log_prob must be callable as log_prob(x_t, t, **cond), got {self.log_prob!r}")
        if not 0.0 < self.earliest < 1.0:
            raise ValueError(f"earliest must be a time in (0, 1), got {self.earliest}")

    def __call__(self, field: BaseField) -> BaseField:
        return ClassifierGuidedField(field, self)


class ClassifierGuidedField(Guided):
    """The field plus the pull of the classifier; the classifier's own pass is not counted as one of the network."""

    def __init__(self, field: BaseField, guidance: ClassifierGuidance) -> None:
        super().__init__(field, weight=guidance.weight)
        self.guidance = guidance

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        own, cond = self.split(cond)
        names = set(self.guidance.of or (name for name in cond if not is_carried(name)))
        mine = {name: value for name, value in cond.items() if name in names}
        rest = {name: value for name, value in cond.items() if name not in names}
        value = self.field.evaluate(x_t, t, **rest).read(self.prediction)
        later = t.clamp(min=self.guidance.earliest)
        pull = log_gradient(self.guidance.log_prob, x_t, later, mine)
        slope = conversion(self.path.coefs(later, x_t), SCORE, self.prediction)[1]
        return self.path.read(x_t, t, self.prediction, value + weight_at(own["weight"], t, x_t) * slope * pull)

    def reads(self) -> Callable[..., Any] | None:
        return None


def log_gradient(log_prob: LogProb, x: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
    """grad_x of each sample's log-probability, shape of x; differentiable where gradients are recorded."""
    t, cond = ordinary(t), ordinary_all(cond)
    value, pull = pullback(lambda point: log_prob(point, t, **cond), x)
    if value.shape != (len(x),):
        raise ValueError(f"log_prob must return one number per sample, ({len(x)},), got shape {tuple(value.shape)}")
    return pull(torch.ones_like(value))


def class_log_prob(classifier: Callable[[Tensor, Tensor], Tensor]) -> LogProb:
    """(x_t, t, y) -> log softmax(logits)_y for a ``classifier`` (x_t, t) -> logits (B, K); y = -1 gives 0, so no pull."""

    def log_prob(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        logits = classifier(x_t, t.to(x_t.device, working_dtype(x_t)))
        y = torch.as_tensor(y, device=logits.device).expand(len(logits))
        chosen = torch.log_softmax(logits, 1).gather(1, y.clamp(min=0)[:, None])[:, 0]
        return torch.where(y < 0, 0.0, chosen)

    return log_prob


def fit_classifier(
    classifier: torch.nn.Module,
    path: AffinePath,
    x_1: Tensor,
    y: Tensor,
    *,
    steps: int = 1000,
    batch: int = 256,
    lr: float = 2e-3,
    times: TimeLaw | None = None,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Train ``classifier`` (x_t, t) -> logits (B, K) on noisy states of the labelled data ``x_1`` (N, ...), ``y`` (N,); its losses, nats.

    E_{t, x_0} cross-entropy of y given x_t = alpha x_1 + sigma x_0, whose minimiser is p(y | x_t). Adam with its rate falling to zero along a
    cosine; ``times`` draws t (uniform); `nets.TimeClassifier` is a network for it. ``generator`` lives on the CPU.
    """
    check_state(x_1, "x_1")
    if y.shape != (len(x_1),) or y.is_floating_point():
        raise ValueError(f"y must hold one integer label per sample, ({len(x_1)},), got {y.dtype} {tuple(y.shape)}")
    if steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be at least 1, got {steps} and {batch}")
    law = uniform() if times is None else times
    optimizer = torch.optim.Adam(classifier.parameters(), lr=lr, fused=False)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses, was_training = [], classifier.training
    classifier.train()
    for _ in range(steps):
        rows = integers(len(x_1), batch, generator, x_1.device)
        data = x_1[rows]
        noise = normal(data.shape, generator, data)
        t = law.sample(batch, generator=generator, dtype=working_dtype(data)).to(data.device)
        loss = torch.nn.functional.cross_entropy(classifier(path.sample(noise, data, t), t), y[rows].to(data.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cooling.step()
        losses.append(float(loss.detach()))
    classifier.train(was_training)
    return losses
