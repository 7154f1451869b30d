"""Guidance: Field -> Field. The formula the family shares, and the empty condition (theory T33)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline._typing import Cond, Scalar
from pathline.field import BaseField

Guidance: TypeAlias = Callable[[BaseField], BaseField]


def extrapolate(negative: Tensor, positive: Tensor, w: Scalar) -> Tensor:
    """(1 - w) negative + w positive; w = 1 is no guidance. Linear, so the same in every prediction (T33)."""
    return negative + w * (positive - negative)


def null_like(value: Tensor) -> Tensor:
    """The empty condition of a condition: -1 for integer labels, NaN for real vectors, as `pathline.nets` read them."""
    return torch.full_like(value, float("nan") if value.is_floating_point() else -1)


def null_conditions(cond: Cond, null: Mapping[str, Any] | None) -> Cond:
    """``cond`` with every tensor replaced by its empty condition, taken from ``null`` where named there."""
    null = {} if null is None else null
    unknown = set(null) - set(cond)
    if unknown:
        raise ValueError(f"null names {', '.join(sorted(unknown))}, which is no condition of this call")
    empty = {}
    for name, value in cond.items():
        if name in null:
            given = torch.as_tensor(null[name])
            empty[name] = given.to(value).expand_as(value) if isinstance(value, Tensor) else null[name]
        else:
            empty[name] = null_like(value) if isinstance(value, Tensor) else value
    return empty


def weight_at(weight: "Scalar | Callable[[Tensor], Scalar]", t: Tensor, x: Tensor) -> Scalar:
    """The guidance scale at ``t``: a number, one per sample (B,), or a function of time; shaped to multiply x."""
    w = weight(t) if callable(weight) else weight
    return expand_time(w.to(x.device, x.dtype), x) if isinstance(w, Tensor) and w.ndim else w
