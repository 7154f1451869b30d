"""Gradients inside a field: wherever it is called, in inference mode as well as under another gradient."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def eager_inference() -> bool:
    """Whether no gradient, transform or compiler looks at what is computed: then a fresh tensor may be overwritten."""
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


def ordinary(value: Any) -> Any:
    """``value``, or its copy where it is a tensor made in inference mode, which no gradient may pass through."""
    if isinstance(value, Tensor) and value.is_inference():
        with torch.inference_mode(False):
            return value.clone()
    return value


def ordinary_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """`ordinary` for every entry."""
    return {name: ordinary(value) for name, value in values.items()}


def pullback(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(f(x), the map from v to J^T v with J = df/dx), for v in the shape of f(x).

    Both are differentiable where gradients are being recorded when this is called. Tensors that ``function`` closes over must
    be `ordinary`. A function that does not depend on x pulls back to zero.
    """
    keep = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        point = x if keep and x.requires_grad else ordinary(x).detach().requires_grad_()
        value = function(point)

    def pull(v: Tensor) -> Tensor:
        if not value.requires_grad:
            return torch.zeros_like(point)
        with torch.inference_mode(False):
            (back,) = torch.autograd.grad(
                value, point, ordinary(v), retain_graph=True, create_graph=keep, allow_unused=True
            )
        return torch.zeros_like(point) if back is None else back

    return (value if keep else value.detach()), pull
