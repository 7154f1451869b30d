"""Fashion-MNIST, 28 × 28, by class."""

from typing import Any

from pathline.train.config import Sampling, TrainConfig


def fashion(**changes: Any) -> TrainConfig:
    """A U-Net that draws clothes of the class it is asked for."""
    return TrainConfig(
        data="fashion_mnist",
        out="runs/fashion",
        net="unet(patch=2, widths=(48, 128), blocks=1, bottom=2)",
        prediction="data",
        loss_in="velocity",
        times="logit_normal(0.0, 1.0)",
        steps=12000,
        batch_size=32,
        lr=1.5e-3,
        warmup=1000,
        decay="inverse_sqrt",
        ema=0.999,
        ema_also="0.998, 0.9995, power(0.1)",
        held_out=1 / 3,
        checkpoint_every=500,
        sampling=Sampling(solver="abm2", evaluations=16, guidance=1.5),
    ).replace(**changes)
