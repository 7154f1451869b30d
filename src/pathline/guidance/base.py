"""Guidance: Field -> Field. The formula the family shares, and the empty condition (theory T33)."""

from collections.abc import Callable, Collection, Mapping
from itertools import count
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._draws import Randomness, rand
from pathline._shapes import expand_time
from pathline._typing import Cond, Scalar
from pathline.field import BaseField
from pathline.paths.base import Estimate

Guidance: TypeAlias = Callable[[BaseField], BaseField]
"""A function from a field to the guided field."""
Weight: TypeAlias = Scalar | Callable[[Tensor], Scalar]
"""A guidance scale: a number, one per sample (B,), or a function of t; see `guidance.scales`."""

_NAMES = count()


def extrapolate(negative: Tensor, positive: Tensor, w: Scalar) -> Tensor:
    """(1 - w) negative + w positive; w = 1 is no guidance. Linear, so the same in every prediction (T33)."""
    return negative + w * (positive - negative)


def null_like(value: Tensor) -> Tensor:
    """The empty condition of a condition: -1 for integer labels, NaN for real vectors and images, as `pathline.nets` read them."""
    return torch.full_like(value, float("nan") if value.is_floating_point() else -1)


def is_carried(name: str) -> bool:
    """Whether ``name`` is that of a tensor which belongs to a field (`BaseField.carried`) and not to the network."""
    return "@" in name


def null_conditions(cond: Cond, null: Mapping[str, Any] | None, of: Collection[str] | None = None) -> Cond:
    """``cond`` with every tensor, or those named in ``of``, replaced by its empty condition, taken from ``null`` where named there."""
    null = {} if null is None else null
    for which, names in (("null", set(null)), ("of", set(of or ()))):
        unknown = names - set(cond)
        if unknown:
            raise ValueError(f"{which} names {', '.join(sorted(unknown))}, which is no condition of this call")
    empty = {}
    for name, value in cond.items():
        if is_carried(name) or (of is not None and name not in of):
            empty[name] = value
        elif name in null:
            given = torch.as_tensor(null[name])
            empty[name] = given.to(value).expand_as(value) if isinstance(value, Tensor) else null[name]
        else:
            empty[name] = null_like(value) if isinstance(value, Tensor) else value
    return empty


def weight_at(weight: Weight, t: Tensor, x: Tensor) -> Scalar:
    """The guidance scale at ``t``: a number, one per sample (B,), or a function of time; shaped to multiply x."""
    w = weight(t) if callable(weight) else weight
    if not isinstance(w, Tensor) or not w.ndim:
        return w
    if w.ndim > 1 or len(w) not in (1, len(x)):
        raise ValueError(f"weight must be a number or have shape ({len(x)},), one per sample, got {tuple(w.shape)}")
    return expand_time(w.to(x.device, x.dtype), x)


class Guided(BaseField):
    """What every field made of a field shares. ``own`` are its tensors (B, ...) that belong to samples, see `BaseField.carried`."""

    def __init__(self, field: BaseField, *, branches: int | None = None, **own: Any) -> None:
        self.field, self.path, self.prediction = field, field.path, field.prediction
        self.branches = field.branches if branches is None else branches
        several = {name: v for name, v in own.items() if isinstance(v, Tensor) and v.ndim and len(v) > 1}
        self._names = {name: f"{name}@{next(_NAMES)}" for name in several}  # one row is shared by all samples
        self._own = own

    def carried(self) -> Cond:
        return {**self.field.carried(), **{key: self._own[name] for name, key in self._names.items()}}

    def split(self, cond: Cond) -> tuple[Cond, Cond]:
        """(the field's own tensors for the samples of this call, the conditions of the field inside)."""
        rest = dict(cond)
        return {**self._own, **{name: rest.pop(key) for name, key in self._names.items() if key in rest}}, rest

    def singular(self, t: Tensor) -> bool:
        return self.field.singular(t)

    def modules(self) -> list[torch.nn.Module]:
        return self.field.modules()

    def reads(self) -> Callable[..., Any] | None:
        return self.field.reads()


def stacked(field: BaseField, x: Tensor, t: Tensor, conds: "list[Cond]") -> list[Estimate]:
    """The estimates of ``field`` at the same (x, t) under several conditions, in one call on a batch of all of them."""
    n = len(conds)
    together = {
        name: torch.cat([cond[name] for cond in conds]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in conds[0].items()
    }
    estimate = field.evaluate(torch.cat([x] * n), torch.cat([t] * n) if t.ndim else t, **together)
    return [field.path.read(x, t, estimate.prediction, part) for part in estimate.value.chunk(n)]


def drop(cond: Cond, rate: "float | Mapping[str, float]", *, generator: Randomness = None) -> Cond:
    """``cond`` with conditions of some samples replaced by their empty ones, as training for guidance asks (T33).

    A number ``rate`` is the chance that a sample loses all of its conditions at once. A mapping gives each condition that it names a
    chance of its own, independent of the others; its entry ``"together"`` is that of losing all of them besides. Only tensors (B, ...)
    are dropped.
    """
    rates = dict(rate) if isinstance(rate, Mapping) else {"together": rate}
    check_rates(rates)
    together = rates.pop("together", 0.0)
    unknown = set(rates) - set(cond)
    if unknown:
        raise ValueError(f"dropout names {', '.join(sorted(unknown))}, which is no condition of this call")
    found = {name: value for name, value in cond.items() if isinstance(value, Tensor) and value.ndim}
    if not found:
        return cond
    some = next(iter(found.values()))

    def chosen(chance: float) -> Tensor:
        return rand(len(some), generator, device=some.device) < chance

    lost = chosen(together) if together > 0.0 else None
    dropped = dict(cond)
    for name, value in found.items():
        own = chosen(rates[name]) if rates.get(name, 0.0) > 0.0 else None
        gone = lost if own is None else own if lost is None else own | lost
        if gone is not None:
            dropped[name] = torch.where(expand_time(gone, value), null_like(value), value)
    return dropped


def check_rates(rate: "float | Mapping[str, float]") -> None:
    """Refuse chances outside [0, 1]."""
    for name, chance in (rate if isinstance(rate, Mapping) else {"conditions": rate}).items():
        if not 0.0 <= chance <= 1.0:
            raise ValueError(f"the chance to drop {name} must lie in [0, 1], got {chance}")
