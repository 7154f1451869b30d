"""Fashion-MNIST, 28 × 28, by class."""

from typing import Any

from pathline.train.config import Sampling, TrainConfig


def fashion(**changes: Any) -> TrainConfig:
    """A U-Net of 1,353,220 weights that draws clothes of the class it is asked for.

    ``pathline train fashion``, seed 0, 101 CPU minutes on one thread beside other work; 20,000 images held out. Without guidance,
    abm2 with 24 evaluations, 10,000 samples: class agreement 88.8 % (the judge reads 92.1 % of held-out images right);
    FD (fashion_mnist-cnn) 0.166 beside 0.034 for real data, 0.095 with sde_dpmpp_2m, 48 evaluations and guidance 1.1.
    Guidance 1.5, 500 samples: 96.8 %, FD 1.07 beside 0.99; 3.53 bits per dimension held out.
    """
    return TrainConfig(
        data="fashion_mnist",
        out="runs/fashion",
        net="unet(patch=2, widths=(64, 128), blocks=2, bottom=2, norm='pixel')",
        prediction="velocity",
        times="logit_normal(0.0, 1.0)",
        steps=26_000,
        batch_size=64,
        lr=1.5e-3,
        warmup=300,
        decay="cosine",
        ema=0.9995,
        ema_also="0.999, 0.9998, power(0.1)",
        precision="bf16",
        channels_last=True,
        held_out=1 / 3,
        checkpoint_every=1000,
        sampling=Sampling(solver="abm2", evaluations=16, guidance=1.5),
    ).replace(**changes)
