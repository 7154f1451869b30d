"""Small images that a computer without an accelerator can train on, given an hour."""

from typing import Any

from pathline.train.config import Sampling, TrainConfig

_SMALL: dict[str, Any] = {
    "prediction": "velocity",
    "times": "logit_normal(0.0, 1.0)",
    "batch_size": 64,
    "lr": 1.5e-3,
    "warmup": 300,
    "ema": 0.9995,
    "precision": "bf16",
    "checkpoint_every": 500,
}


def mnist(**changes: Any) -> TrainConfig:
    """The net and settings of `fashion` on 10,000 handwritten digits of 28 × 28, by class.

    Not trained here.
    """
    return TrainConfig(
        data="mnist",
        out="runs/mnist",
        net="unet(patch=2, widths=(64, 128), blocks=2, bottom=2)",
        steps=4000,
        held_out=0.2,
        sampling=Sampling(solver="abm2", evaluations=16, guidance=1.5),
        **_SMALL,
    ).replace(**changes)


def emoji(**changes: Any) -> TrainConfig:
    """About 1,400 pictures of 32 × 32 in colour, without classes: a set so small that a long training copies it.

    Not trained here.
    """
    return TrainConfig(
        data="emoji",
        labels=False,
        out="runs/emoji",
        net="unet(patch=2, widths=(64, 128), blocks=1, bottom=2)",
        steps=4000,
        held_out=0.1,
        sampling=Sampling(solver="abm2", evaluations=32),
        **_SMALL,
    ).replace(**changes)
