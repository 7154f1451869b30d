"""What every net here shares: how a time and a condition become vectors, and how wrong arguments are told."""

import math

import torch
from torch import Tensor, nn

from pathline._shapes import check_state

SLOWEST, FASTEST = 1.0, 30.0
"""Angular frequencies of the time features in radians per unit of t, so from 0.16 to 4.8 turns over [0, 1].

Measured on the exact velocity of 8 Gaussians (MLP, 1,500 steps, 3 seeds): mean squared error 0.016 at 30,
0.018 at 10; over 2 other seeds 0.018 at 100, 0.026 at 1,000, and 0.043 with t itself in place of features."""

LABEL_STD = 0.5
"""Initial spread of the label vectors.

Measured on the digits (DiT, 600 steps, seed 0): of 300 samples, a nearest-neighbour classifier agrees with the label
in 89% at the customary 0.02, 95% at 0.3, 97% at 1."""


def positive(name: str, value: int) -> int:
    """``value``, or an error if it is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def check_features(count: int) -> int:
    """``count``, or an error if it cannot be the number of time features."""
    if count < 0 or count % 2:
        raise ValueError(f"time_features must be even (a sine and a cosine each) or 0 (t itself), got {count}")
    return count


def time_features(t: Tensor, count: int, like: Tensor) -> Tensor:
    """The vectors ``[sin(omega_k t), cos(omega_k t)]``, with omega_k log-spaced from `SLOWEST` to `FASTEST`.

    Args:
        t: times of shape ``()`` or ``(B,)``, of any floating dtype and device.
        count: how many features, even; 0 gives ``t`` itself as the only one.
        like: a parameter of the net; the features take its dtype and device. Angles are never rounded to
            half precision; the frequencies are computed, not stored, so that a cast of the net leaves them.

    Returns:
        ``(1, count)`` for a time of shape ``()``, which broadcasts over the batch, else ``(B, count)``.
    """
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    t = t.to(device=like.device, dtype=exact).reshape(-1, 1)
    if count == 0:
        return t.to(like.dtype)
    omega = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), count // 2, dtype=exact, device=like.device)
    angle = t * omega
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(like.dtype)


def check_time_shape(t: Tensor, x_t: Tensor) -> None:
    """Refuse a time that is not ``()`` or ``(B,)``. Values are free: a net may be driven by another clock."""
    if not isinstance(t, Tensor):
        raise TypeError(f"t must be a tensor of shape () or (B,), got {type(t).__name__}: use torch.tensor(t)")
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x_t.shape[0]):
        raise ValueError(
            f"t must have shape () or ({x_t.shape[0]},) for x_t of shape {tuple(x_t.shape)}, got {tuple(t.shape)}"
        )


def check_images(x_t: Tensor, t: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what a net for images of ``shape`` (C, H, W) cannot take: other states, and times that do not fit them."""
    check_state(x_t, "x_t")
    check_time_shape(t, x_t)
    if x_t.shape[1:] != shape:
        raise ValueError(
            f"x_t must have shape (B, {', '.join(map(str, shape))}), channels first, got {tuple(x_t.shape)}"
        )


class LabelEmbedding(nn.Module):
    """Class labels ``(B,)`` in 0 … num_classes − 1 to vectors ``(B, width)``; −1 or None is a learned null.

    Row 0 of the table is the null class, so that ``y + 1`` is the row, and every other value is out of range.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = positive("num_classes", num_classes)
        self.table = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.table.weight, std=LABEL_STD)

    def forward(self, y: Tensor | None, batch: int) -> Tensor:
        """Vectors ``(B, width)``, or ``(1, width)`` for None. A label out of range is a `ValueError` on CPU."""
        if y is None:
            return self.table.weight[:1]
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise TypeError(f"y must hold integer class labels, got dtype {y.dtype}: use y.long()")
        if y.shape != (batch,):
            raise ValueError(f"y must have shape ({batch},), one label a sample, got {tuple(y.shape)}")
        try:
            return self.table(y.long() + 1)
        except IndexError:
            low, high = (int(v) for v in torch.aminmax(y))
            raise ValueError(
                f"y must lie in 0 … {self.num_classes - 1}, or be -1 for 'no label'; got values from {low} to {high}"
            ) from None


class VectorEmbedding(nn.Module):
    """Conditions ``(B, condition_dim)`` to vectors ``(B, width)``; None or a row of NaN is a learned null."""

    def __init__(self, condition_dim: int, width: int) -> None:
        super().__init__()
        self.condition_dim = positive("condition_dim", condition_dim)
        self.linear = nn.Linear(condition_dim, width)
        self.null = nn.Parameter(torch.zeros(1, width))

    def forward(self, y: Tensor | None, batch: int) -> Tensor:
        """Vectors ``(B, width)``, or ``(1, width)`` for None."""
        if y is None:
            return self.null
        if not y.is_floating_point():
            raise TypeError(f"y must be a floating condition vector, got dtype {y.dtype}: use y.float()")
        if y.shape != (batch, self.condition_dim):
            raise ValueError(f"y must have shape ({batch}, {self.condition_dim}), got {tuple(y.shape)}")
        missing = y.isnan().all(dim=-1, keepdim=True)
        # Filled before the product: a NaN behind `where` would still poison the gradient.
        given = self.linear(y.masked_fill(missing, 0.0).to(self.linear.weight.dtype))
        return torch.where(missing, self.null.to(given.dtype), given)


class NoCondition(nn.Module):
    """The condition of an unconditional net: nothing, and an error for a ``y`` that would be ignored."""

    def forward(self, y: Tensor | None, batch: int) -> None:
        if y is not None:
            raise ValueError("this net takes no condition, but y was given: build it with num_classes or condition_dim")


Condition = LabelEmbedding | VectorEmbedding | NoCondition


def condition(num_classes: int | None, condition_dim: int | None, width: int) -> Condition:
    """The embedding for labels, for vectors, or for nothing."""
    if num_classes is not None and condition_dim is not None:
        raise ValueError(
            f"give num_classes ({num_classes}) for labels or condition_dim ({condition_dim}) for vectors, not both"
        )
    if num_classes is not None:
        return LabelEmbedding(num_classes, width)
    if condition_dim is not None:
        return VectorEmbedding(condition_dim, width)
    return NoCondition()
