"""The nine ways to predict one quantity and count the error in another (theory T18)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pathline.experiments.base import Experiment, Options, Record
from pathline.experiments.subjects import recipe
from pathline.experiments.training import Yardstick, trained_config
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, NOISE, VELOCITY
from pathline.schedules import Linear

NAMES = {"x": DATA, "noise": NOISE, "velocity": VELOCITY}
WEIGHTS: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
    ("x", "x"): lambda t: torch.ones_like(t),
    ("x", "noise"): lambda t: t**2 / (1 - t) ** 2,
    ("x", "velocity"): lambda t: 1 / (1 - t) ** 2,
    ("noise", "x"): lambda t: (1 - t) ** 2 / t**2,
    ("noise", "noise"): lambda t: torch.ones_like(t),
    ("noise", "velocity"): lambda t: 1 / t**2,
    ("velocity", "x"): lambda t: (1 - t) ** 2,
    ("velocity", "noise"): lambda t: t**2,
    ("velocity", "velocity"): lambda t: torch.ones_like(t),
}
"""(prediction, loss) -> what multiplies the squared error of the prediction on the linear path, from table 1 of Li & He."""
EVALUATIONS = 50


def weight_gap(predicted: str, counted: str, seed: int) -> float:
    """Largest relative difference between the weight of the losses as measured and in closed form, over t in [0.1, 0.9].

    Measured is the loss of a random net counted in one quantity over its loss counted in its own, sample by sample.
    """
    generator = torch.Generator().manual_seed(seed)
    x_1, x_0 = torch.randn(2, 64, 3, generator=generator, dtype=torch.float64)
    mix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 64, dtype=torch.float64)

    def loss(space: str) -> Tensor:
        objective = Matching(AffinePath(Linear()), NAMES[predicted], loss_in=NAMES[space], label_dropout=0.0)
        return objective.per_sample(lambda x, t: x @ mix, x_1, x_0, t=t)

    measured = loss(counted) / loss(predicted)
    return float((measured / WEIGHTS[predicted, counted](t) - 1.0).abs().max())


def patches(side: int) -> tuple[int, int]:
    """The two sizes of a patch: a small one, and one with half of the side."""
    small = next(p for p in (2, 4, 3, 1) if side % p == 0 and (side // p) ** 2 <= 64)
    return small, side // 2


def measure(options: Options) -> Iterator[Record]:
    """Train each of the nine at two sizes of a patch."""
    config = recipe(options.subject or "digits", quick=options.quick)
    yardstick = Yardstick.of(config, quick=options.quick)
    if not yardstick.real.image or yardstick.judge is None:
        raise ValueError(f"nine needs images with labels, which {config.data} are not: try digits or fashion")
    labels = yardstick.real.y
    for patch in patches(yardstick.real.shape[-1])[: 1 if options.quick else 2]:
        for predicted, counted in list(WEIGHTS)[:: 4 if options.quick else 1]:
            for seed in options.seeds:
                told = config.replace(
                    net=f"dit(patch={patch}, width=64, depth=4, heads=4)",
                    prediction="data" if predicted == "x" else predicted,
                    loss_in="data" if counted == "x" else counted,
                )
                run, seconds = trained_config(told, yardstick.train, seed)
                x = run.sample(
                    yardstick.n, y=labels, seed=seed, solver="ab2", guidance=1,
                    evaluations=4 if options.quick else EVALUATIONS,
                )  # fmt: skip
                yield {
                    "patch": patch,
                    "prediction": predicted,
                    "loss": counted,
                    "seed": seed,
                    **yardstick(x, labels),
                    "weight gap": weight_gap(predicted, counted, seed),
                    "seconds": seconds,
                }


EXPERIMENT = Experiment(
    name="nine",
    question="Three predictions, each with its error counted in three spaces: which of the nine draws well, at two sizes of a patch?",
    measure=measure,
    by=("patch", "prediction", "loss"),
    values=("FD", "agreement", "recall", "sliced W2", "weight gap", "seconds"),
    x="loss",
    y="FD",
    log="y",
    source="After table 2 of Li & He (arXiv 2511.13720); T18.",
    subject="digits",
)
