"""Handwritten digits, 8 × 8, by class."""

from typing import Any

from pathline.train.config import Sampling, TrainConfig


def digits(**changes: Any) -> TrainConfig:
    """A transformer that draws the digit it is asked for, in minutes on two cores."""
    return TrainConfig(
        data="digits",
        out="runs/digits",
        net="dit(patch=2, width=64, depth=4, heads=4)",
        prediction="data",
        loss_in="velocity",
        times="logit_normal(0.0, 1.0)",
        steps=2500,
        batch_size=64,
        lr=2e-3,
        warmup=200,
        ema=0.998,
        held_out=0.2,
        checkpoint_every=500,
        sampling=Sampling(solver="heun", steps=16, guidance=1.5),
    ).replace(**changes)
