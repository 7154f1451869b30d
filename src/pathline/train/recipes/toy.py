"""Distributions in the plane."""

from typing import Any

from pathline._errors import lookup
from pathline.data import TOYS
from pathline.train.config import Sampling, TrainConfig


def toy(name: str, **changes: Any) -> TrainConfig:
    """A perceptron of 37,762 weights on one of the ten toys, 32 to 38 CPU seconds on one busy core.

    Exact W2 at n = 2,000 over that between real sets, seed 0, means over 4 draws (random rows of 200,000 points):
    moons 0.98, circles 1.12, 8gaussians 0.99, checkerboard 1.01, spiral 1.40, s_curve 1.11, swiss_roll 1.16,
    25gaussians 1.03, pinwheel 0.80, two_spirals 0.98. Single draws scatter from 0.5 to 2.1.
    """
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
