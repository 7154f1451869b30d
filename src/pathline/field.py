"""A field: a network seen as an estimate of the flow at (x_t, t) (theory T9, T17)."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_state, check_time, working_dtype
from pathline._typing import Cond, Net
from pathline.paths.base import Estimate, Path
from pathline.predictions import Prediction


class BaseField(ABC):
    """(x_t, t, **cond) -> `Estimate`. A function: the same input gives the same output.

    Networks (`Field`), guided fields and the exact fields of `testing.oracles` are all of this kind.
    """

    path: Any
    prediction: Prediction
    branches: int = 1
    """Network evaluations per sample that one call costs."""

    @abstractmethod
    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        """The estimate, without looking at the values of its arguments: what solvers call."""

    def __call__(self, x_t: Tensor, t: "Tensor | float", **cond: Any) -> Estimate:
        """The estimate at states ``x_t`` (B, ...) and times ``t``, a number or a tensor of shape () or (B,)."""
        check_state(x_t, "x_t")
        return self.evaluate(x_t, check_time(t, x_t), **cond)

    def check_conditions(self, cond: dict[str, Any]) -> None:
        """Refuse conditions that nothing here reads, before any work is done."""
        target = self.reads()
        if target is None or not cond:
            return
        try:
            parameters = inspect.signature(target).parameters.values()
        except (TypeError, ValueError):  # a callable without a signature judges by itself
            return
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][2:]
        for name in cond:
            if name not in known:
                raise TypeError(
                    f"{name}= is read by nothing: the network takes "
                    + (f"the conditions {', '.join(known)}" if known else "no condition")
                )

    def singular(self, t: Tensor) -> bool:
        """Whether the velocity at the time ``t``, shape (), is a blown-up reading of what the network predicts."""
        return self.path.velocity_gain(self.prediction, t) > 1e3

    def passes(self, t: Tensor) -> float:
        """Passes of networks per sample that a call at the times ``t``, () or (B,), costs: their mean over the samples."""
        return self.branches

    def carried(self) -> Cond:
        """Tensors (B, ...) of the field that belong to samples, such as one guidance scale each, by names of their own.

        They travel among the conditions, so that a solver which goes on with part of a batch takes their rows too.
        """
        return {}

    def modules(self) -> list[torch.nn.Module]:
        """The networks behind the field."""
        return []

    def reads(self) -> Callable[..., Any] | None:
        """The callable whose signature (x_t, t, conditions...) names the conditions; None accepts all."""
        return None


@dataclass(frozen=True)
class Field(BaseField):
    """A frozen view of ``net``, which predicts ``prediction`` along ``path``. Not a module: it owns no weights.

    ``net(x_t, t, **cond)`` returns a tensor like x_t and gets t of shape () or (B,) in the dtype of x_t (float32 for
    half precision). A prediction with an input scale and a clock (`edm_f`) applies them here.
    """

    net: Net
    path: Path
    prediction: Prediction

    def __post_init__(self) -> None:
        if not callable(self.net):
            raise TypeError(f"net must be callable as net(x_t, t, **cond), got {type(self.net).__name__}")
        if not isinstance(self.path, Path):
            raise TypeError(f"path must be a Path such as pl.AffinePath(pl.Linear()), got {self.path!r}")
        if not isinstance(self.prediction, Prediction):
            raise TypeError(f"prediction must be a Prediction such as pl.VELOCITY, got {self.prediction!r}")

    def evaluate(self, x_t: Tensor, t: Tensor, **cond: Any) -> Estimate:
        seen, clock = x_t, t
        prediction = self.prediction
        if prediction.input_scale is not None or prediction.clock is not None:
            coefs = self.path.coefs(t, x_t)  # pyright: ignore[reportAttributeAccessIssue]
            if prediction.input_scale is not None:
                seen = prediction.input_scale(coefs) * x_t
            if prediction.clock is not None:
                clock = torch.as_tensor(prediction.clock(coefs)).reshape(t.shape)
        value = self.net(seen, clock.to(x_t.device, working_dtype(x_t)), **cond)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"net must return a tensor like x_t, got {type(value).__name__}: wrap it, e.g. "
                "lambda x, t, **cond: model(x, t, **cond).sample"
            )
        if value.shape != x_t.shape or prediction.heads:
            expected = prediction.shape(x_t)
            if value.shape != expected:
                what = f"one {prediction} a sample" if prediction.heads else "the shape of x_t"
                raise ValueError(f"net must return {what}, {tuple(expected)}, got {tuple(value.shape)}")
        return self.path.read(x_t, t, prediction, value)

    def reads(self) -> Callable[..., Any] | None:
        return self.net.forward if isinstance(self.net, torch.nn.Module) else self.net

    def modules(self) -> list[torch.nn.Module]:
        return [self.net] if isinstance(self.net, torch.nn.Module) else []
