"""Handwritten digits, 8 × 8, by class."""

from typing import Any

from pathline.train.config import Sampling, TrainConfig


def digits(**changes: Any) -> TrainConfig:
    """A transformer of 316,676 weights that draws the digit it is asked for.

    ``pathline train digits``, seed 0, 500 samples with guidance 1.5, 16 Heun steps, 359 held-out images: class agreement
    100 % (the judge reads 98.9 % of held-out real digits right); FD (digits-cnn) 1.89 ± 0.14 beside 2.08 ± 0.58 for
    real data at n = 179; nearest-neighbour ratio 1.06, no copies; recall 0.73 beside 0.90 is the price of the guidance.
    """
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
