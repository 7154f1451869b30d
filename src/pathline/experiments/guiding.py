"""What each way of guidance trades for agreement with the class (theory T33, T34)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.experiments.base import Experiment, Options, Record
from pathline.experiments.subjects import is_run
from pathline.experiments.training import Yardstick
from pathline.field import BaseField
from pathline.guidance import APG, CFG, Autoguidance, CFGPlusPlus, CFGZero, Guidance, Interval, Rescale
from pathline.metrics import precision_recall, sliced_wasserstein2
from pathline.paths import AffinePath
from pathline.schedules import Linear
from pathline.solvers import sample
from pathline.testing.oracles import GaussianMixture, gaussian_mixture
from pathline.train import Run
from pathline.train.checkpoint import list_checkpoints
from pathline.train.names import CHECKPOINTS

WEIGHTS = (1.0, 1.5, 2.0, 3.0, 5.0)
STEPS = 32
METHODS: dict[str, Callable[[float], Guidance]] = {
    "cfg": CFG,
    "interval": lambda w: Interval(w, 0.2, 0.8),
    "rescale": Rescale,
    "cfg_zero": CFGZero,
    "cfg_pp": lambda w: CFGPlusPlus(w / 5.0, steps=STEPS),
    "apg": APG,
}
"""Guidance by its weight w; CFG++ has a scale of its own from 0 to 1, here w/5."""
MEANS = torch.tensor([[2.0, 0.0], [1.2, 1.4], [-1.5, 0.8], [-0.4, -1.8], [0.0, 0.3], [0.3, -0.6]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
STD, WEAK_STD = 0.5, 0.8
EXACT = "exact mixture of three classes"


def mixture(std: float = STD) -> GaussianMixture:
    """Three classes of two Gaussians each, which overlap."""
    return gaussian_mixture(MEANS, std, None, AffinePath(Linear()), labels=LABELS)


def measure(options: Options) -> Iterator[Record]:
    """Agreement, recall and precision for each method and weight."""
    weights = (1.0, 3.0) if options.quick else WEIGHTS
    setting = _exact if options.subject is None else _of_run
    for seed in options.seeds:
        methods, look = setting(options, seed)
        for name, method in methods.items():
            for w in weights:
                yield {"method": name, "w": w, "seed": seed, **look(name, method(w), seed)}


Look = Callable[[str, Guidance, int], dict[str, float]]
Methods = dict[str, Callable[[float], Guidance]]


def _exact(options: Options, seed: int) -> tuple[Methods, Look]:
    """The mixture in closed form: nothing is trained, and the class of a sample is the most likely one."""
    n = 120 if options.quick else 1500
    field, weak = mixture(), mixture(WEAK_STD)
    y = torch.arange(n) % 3
    real = field.sample_data(n, torch.Generator().manual_seed(10 + seed), y=y)
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(20 + seed), dtype=torch.float64)

    def look(name: str, guidance: Guidance, seed: int) -> dict[str, float]:
        x = drawn(field, noise, name, guidance, y)
        hit = (field.class_log_prob(x).argmax(1) == y).double().mean()
        found = precision_recall(x, real)
        return {
            "agreement": float(hit),
            "recall": found.recall,
            "precision": found.precision,
            "sliced W2": sliced_wasserstein2(x, real, generator=torch.Generator().manual_seed(seed)),
        }

    return {**METHODS, "autoguidance": lambda w: Autoguidance(w, weak)}, look


def _of_run(options: Options, seed: int) -> tuple[Methods, Look]:
    """A run with classes: they are read by its judge, recall is that of its features."""
    subject = str(options.subject)
    if not is_run(subject):
        raise ValueError(f"guidance is compared on a run with classes, and there is no folder {subject}")
    run = Run.open(subject)
    if not run.class_names:
        raise ValueError(f"{subject} was trained without classes: there is nothing to guide to")
    yardstick = Yardstick.of_run(run, quick=options.quick)
    if yardstick.judge is None or yardstick.features is None or yardstick.real.y is None:
        raise ValueError(f"guidance needs images with labels, which {subject} was not trained on")
    y, judge, features = yardstick.real.y, yardstick.judge, yardstick.features
    noise = torch.randn(yardstick.n, *run.shape, generator=torch.Generator().manual_seed(20 + seed))

    def look(name: str, guidance: Guidance, seed: int) -> dict[str, float]:
        x = run.decode(drawn(run.field, noise, name, guidance, y))
        seen = precision_recall(judge.features(x), features)
        found = yardstick(x, y)
        return {
            "agreement": found["agreement"],
            "recall": seen.recall,
            "precision": seen.precision,
            "sliced W2": found["sliced W2"],
        }

    methods: Methods = dict(METHODS)
    kept = list_checkpoints(Path(subject) / CHECKPOINTS)
    if len(kept) > 1:
        early = Run.open(subject, step=min(int(path.name.rpartition("-")[2]) for path in kept)).field
        methods["autoguidance"] = lambda w: Autoguidance(w, early)
    return methods, look


def drawn(field: BaseField, noise: Tensor, name: str, guidance: Guidance, y: Tensor) -> Tensor:
    """Samples from ``noise`` at 32 steps: those of DDIM for CFG++, whose scale belongs to its steps, else of ab2."""
    solver = "ddim" if name == "cfg_pp" else "ab2"
    options: dict[str, Any] = {"solver": solver, "steps": STEPS, "guidance": guidance}
    return torch.cat([sample(field, noise[rows], y=y[rows], **options) for rows in torch.arange(len(noise)).split(512)])


EXPERIMENT = Experiment(
    name="guidance",
    question="What does each way of guidance give for agreement with the class, and what does it cost in recall?",
    measure=measure,
    by=("method", "w"),
    values=("agreement", "recall", "precision", "sliced W2"),
    x="w",
    y="recall",
    source="32 steps; samples are those of the guided flow, not of the density p(x) p(y|x)^w; T33, T34. CFG++ has the scale w/5.",
    subject=EXACT,
)
