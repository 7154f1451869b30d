"""The one place where a time meets a state."""

import math
from numbers import Real

import torch
from torch import Tensor


def expand_time(t: Tensor, x: Tensor) -> Tensor:
    """``t`` of shape ``()`` or ``(B,)`` shaped to broadcast over ``x`` of shape ``(B, ...)``.

    The batch is the first axis, always: an axis is never guessed by its size.
    """
    if t.ndim == 0 or x.ndim == 1:
        return t
    return t.reshape(-1, *(1,) * (x.ndim - 1))


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which times of ``x`` are kept: that of ``x``, but never a half precision."""
    return x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32


def check_state(x: Tensor, name: str = "x") -> None:
    """Refuse what cannot be a batch of states."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor of shape (B, ...), got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be of a floating dtype, got {x.dtype}: call {name}.float() first")
    if x.ndim == 0:
        raise ValueError(f"{name} must have a batch axis, got shape (): use {name}[None]")


def check_time(t: "Tensor | float", x: Tensor, name: str = "t") -> Tensor:
    """``t`` as a tensor of shape ``()`` or ``(B,)`` with values in [0, 1], or an error that says what is wrong.

    A number becomes a float64 scalar on the CPU, which multiplies tensors of any device and dtype.
    Values are only read where that does not stall the device.
    """
    if isinstance(t, Real):
        if not (math.isfinite(t) and 0.0 <= t <= 1.0):
            raise ValueError(f"{name} must lie in [0, 1] (0 is noise, 1 is data), got {float(t)}")
        return torch.tensor(float(t), dtype=torch.float64)
    if not isinstance(t, Tensor):
        raise TypeError(f"{name} must be a number or a tensor, got {type(t).__name__}")
    if not t.is_floating_point():
        raise TypeError(
            f"{name} must be of a floating dtype, got {t.dtype}: times run from 0 (noise) to 1 (data); "
            "integer steps of another library are translated in pathline.interop"
        )
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x.shape[0]):
        raise ValueError(
            f"{name} must have shape () or ({x.shape[0]},) for a state of shape {tuple(x.shape)}, got {tuple(t.shape)}"
        )
    if t.device.type == "cpu" and t.numel() and not t.requires_grad:
        low, high = torch.aminmax(t.detach())
        if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
            raise ValueError(f"{name} must lie in [0, 1] (0 is noise, 1 is data), got values from {low:g} to {high:g}")
    return t
