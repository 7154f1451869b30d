"""Which quantity can a network of limited width predict when the dimension grows? (theory T19)"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pathline.data import Dataset, toy
from pathline.experiments.base import Experiment, Options, Record
from pathline.experiments.training import trained
from pathline.metrics import sliced_wasserstein2
from pathline.nets import MLP
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, NOISE, VELOCITY, Prediction
from pathline.schedules import Linear
from pathline.solvers import sample
from pathline.times import log_snr_uniform
from pathline.train import Settings

DIMENSIONS = (512, 64, 16, 8, 2)
POINTS, TESTED, STEPS = 20_000, 2000, 2000
TIMES = log_snr_uniform(Linear(), -5.0, 5.0)
"""Even in log-SNR; what is first of it, t = 0, is left out, for an error of the noise is divided by t."""
PREDICTED = {"x": DATA, "noise": NOISE, "velocity": VELOCITY}


def embedding(dimension: int, seed: int) -> Tensor:
    """Two orthonormal columns (dimension, 2), drawn from ``seed``."""
    drawn = torch.randn(dimension, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.float()


def plane(n: int, seed: int) -> Tensor:
    """``n`` points (n, 2) of the Swiss roll, scaled to variance 1 by a fixed number and centred."""
    x = toy("swiss_roll", n=n, seed=seed).x
    fixed = toy("swiss_roll", n=20_000, seed=1_000_003).x
    return (x - fixed.mean(0)) / fixed.std()


def measure(options: Options) -> Iterator[Record]:
    """Train each prediction in each dimension, and compare its samples, projected back, with fresh data."""
    for dimension in DIMENSIONS[3:] if options.quick else DIMENSIONS:
        for name, prediction in PREDICTED.items():
            for seed in options.seeds:
                yield {
                    "dimension": dimension,
                    "prediction": name,
                    "seed": seed,
                    **_one(options, dimension, prediction, seed),
                }


def _one(options: Options, dimension: int, prediction: Prediction, seed: int) -> Record:
    points, real, fresh = (plane(n, 10 * seed + k) for k, n in enumerate((POINTS, TESTED, TESTED)))
    into = embedding(dimension, seed)
    objective = Matching(AffinePath(Linear()), prediction, loss_in=VELOCITY, label_dropout=0.0)
    settings = Settings(
        steps=4 if options.quick else STEPS, batch_size=256, lr=1e-3, ema=0.998, warmup=100, seed=seed,
        standardize="none", held_out=0.0, time_bins=0,
    )  # fmt: skip
    torch.manual_seed(seed)
    data = Dataset(x=points @ into.T, name="swiss_roll")
    run, seconds = trained(MLP(dimension, 256, 5, activation="relu"), objective, data, settings)
    noise = torch.randn(TESTED, dimension, generator=torch.Generator().manual_seed(seed + 77))
    x = sample(run.field, noise, solver="heun", grid=TIMES.grid(5 if options.quick else 33)[1:])
    back = x @ into
    floor = sliced_wasserstein2(fresh, real, generator=torch.Generator().manual_seed(seed))
    distance = sliced_wasserstein2(back, real, generator=torch.Generator().manual_seed(seed))
    return {
        "sliced W2": distance,
        "real vs real": floor,
        "ratio": distance / floor,
        "outside the plane": float((x - back @ into.T).square().sum(1).mean().sqrt()),
        "seconds": seconds,
    }


EXPERIMENT = Experiment(
    name="jit-toy",
    question="2-D data in D dimensions, a ReLU network of width 256 and depth 5, v-loss: which prediction still works?",
    measure=measure,
    by=("dimension", "prediction"),
    values=("sliced W2", "real vs real", "ratio", "outside the plane", "seconds"),
    x="dimension",
    y="sliced W2",
    log="xy",
    floor="real vs real",
    source="After figure 2 of Li & He (arXiv 2511.13720), which has pictures only; T19.",
)
