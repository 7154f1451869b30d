"""What every objective does with a batch before it meets a network: pair it, draw its times, drop its labels."""

from typing import cast

import torch
from torch import Tensor

from pathline._draws import Draws, Randomness, normal_like, rand
from pathline._shapes import check_state, expand_time, working_dtype
from pathline._typing import Cond
from pathline.couplings import Coupling, DatasetCoupling
from pathline.guidance.base import null_like
from pathline.times import TimeLaw


def draw_batch(
    x_1: Tensor,
    x_0: Tensor | None,
    y: Tensor | None,
    cond: Cond | None,
    generator: Randomness,
    *,
    times: TimeLaw,
    coupling: "Coupling | DatasetCoupling | None",
    label_dropout: float,
) -> tuple[Tensor, Tensor, Cond]:
    """(x_0, t, conditions) of a training batch: source drawn and coupled, times drawn, labels dropped.

    ``x_0`` like ``x_1`` (B, ...), Gaussian noise if None; ``y`` (B,) labels or (B, C) vectors.
    """
    check_state(x_1, "x_1")
    if x_0 is None:
        x_0 = normal_like(x_1, generator)
    elif x_0.shape != x_1.shape or x_0.dtype != x_1.dtype:
        raise ValueError(f"x_0 must be like x_1, {tuple(x_1.shape)} {x_1.dtype}, got {tuple(x_0.shape)} {x_0.dtype}")
    if coupling is not None:
        if not callable(coupling):
            raise TypeError(
                f"{type(coupling).__name__} pairs a whole data set: fit it once, pairs = coupling.fit(data), and give the "
                "x_0 of pairs.draw(n) with coupling=None, or train with pl.Trainer, which does that"
            )
        if isinstance(generator, Draws):
            raise ValueError(
                "a coupling pairs a whole batch: pair it first, then draw for its parts with coupling=None"
            )
        x_0 = x_0[cast(Coupling, coupling)(x_0, x_1, y, generator)]
    t = times.sample(x_1.shape[0], generator=generator, device=x_1.device, dtype=working_dtype(x_1))
    cond = {} if cond is None else cond
    return x_0, t, cond if y is None else {**cond, "y": drop_labels(y, x_1, label_dropout, generator)}


def drop_labels(y: Tensor, x_1: Tensor, rate: float, generator: Randomness) -> Tensor:
    """``y`` with the empty condition in place of a share ``rate`` of its entries."""
    if len(y) != len(x_1):
        raise ValueError(f"y must have one entry per sample, {len(x_1)}, got shape {tuple(y.shape)}")
    if rate == 0.0:
        return y
    drop = rand(len(y), generator, device=x_1.device) < rate
    return torch.where(expand_time(drop, y), null_like(y), y)


def check_dropout(rate: float) -> None:
    """Refuse what is no share."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"label_dropout must lie in [0, 1], got {rate}")
