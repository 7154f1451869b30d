"""Distributions in the plane."""

from typing import Any

from pathline._errors import lookup
from pathline.data import TOYS
from pathline.train.config import Sampling, TrainConfig


def toy(name: str, **changes: Any) -> TrainConfig:
    """A perceptron on one of the ten toys."""
    lookup("toy", name, TOYS)
    return TrainConfig(
        data=f"{name}(n=50000)",
        labels=False,
        out=f"runs/{name}",
        net="mlp(width=128, depth=3)",
        steps=6000,
        batch_size=512,
        lr=1e-2,
        ema=0.999,
        checkpoint_every=2000,
        log_every=100,
        sampling=Sampling(solver="heun", steps=32),
    ).replace(**changes)
