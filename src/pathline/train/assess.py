"""How good a run is: its samples against the held-out part of its data."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.metrics import Classifier, Inception, Report, evaluate, load_classifier, train_classifier
from pathline.metrics.evaluation import choose_metrics
from pathline.train.names import CLASSIFIER
from pathline.train.nll import NAME as NLL
from pathline.train.nll import nll
from pathline.train.run import Run


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A report, with the samples that it measured and the labels that were asked for."""

    report: Report
    samples: Tensor
    labels: "Tensor | None"
    sampling_seconds: float


def assess(
    run: Run,
    *,
    n: "int | None" = None,
    seed: int = 0,
    metrics: "Sequence[str] | None" = None,
    inception: "str | Path | None" = None,
    progress: bool = False,
    **sampling: Any,
) -> Assessment:
    """Sample ``run`` and measure the samples against its held-out data, in your units.

    Labelled data also get class agreement and the features of a small classifier, trained on the training part once
    and kept in the run folder. ``n`` is 2,000 for vectors and 500 for images; ``sampling`` goes to `Run.sample`. The metrics that
    ``metrics`` names are those of `pathline.metrics.METRICS` and "nll" (`pathline.train.nll`), which is measured unless others are named.
    ``inception``, a file of weights, makes the features of images those of the standard FID (`pathline.metrics.Inception`).

    Raises:
        ValueError: nothing was held out, an unknown metric, or Inception is asked to look at data that are not images on whole levels.
        TypeError: ``metrics`` is one string.
    """
    data = run.data
    if data.held_out is None:
        raise ValueError(f"{run.path} held out no data to be measured against: train with held_out > 0")
    n = (500 if run.about["image"] else 2000) if n is None else n
    features = None if inception is None else _inception(run, inception)
    labels = run.labels(n, sampling.get("y"))
    named = metrics if metrics is None or isinstance(metrics, str) else [name for name in metrics if name != NLL]
    choose_metrics(named, with_features=True)  # a wrong one is told before the samples are drawn
    begin = time.perf_counter()
    samples = run.sample(n, seed=seed, progress=progress, **sampling)
    seconds = time.perf_counter() - begin
    judge = None if data.train.y is None else classifier(run)
    asked = None if labels is None or bool((labels < 0).any()) else labels
    likelihood = run.has_density and (metrics is None or NLL in metrics)
    report = evaluate(
        samples,
        data.held_out.x,
        train=data.train.x,
        labels=asked if judge is not None else None,
        real_labels=data.held_out.y if asked is not None else None,
        classifier=judge,
        features=features,
        metrics=named,
        generator=torch.Generator().manual_seed(seed),
    )
    if likelihood:
        report = replace(report, rows=(*report.rows, nll(run, seed=seed)))
    return Assessment(report=report, samples=samples, labels=labels, sampling_seconds=seconds)


def _inception(run: Run, weights: "str | Path") -> Inception:
    train = run.data.train
    if not train.image or train.levels is None:
        raise ValueError(f"inception looks at images on whole grey levels, and {train.name} is not of that kind")
    device = run.device
    return Inception(weights, levels=train.levels, device=device)


def classifier(run: Run) -> Classifier:
    """The classifier that judges ``run``: read from its folder, or trained on its training part and kept there."""
    folder = run.path / CLASSIFIER
    if folder.is_dir():
        try:
            return load_classifier(folder)
        except (ValueError, FileNotFoundError, KeyError):
            pass  # cut short by a crash: train it again
    train, held_out = run.data.train, run.data.held_out
    if train.y is None or train.num_classes is None:
        raise ValueError(f"{run.path} has no labels to train a classifier on")
    kind = "cnn" if train.image else "mlp"
    beside = None if held_out is None or held_out.y is None else (held_out.x, held_out.y)
    judge = train_classifier(train.x, train.y, train.num_classes, name=f"{train.name}-{kind}", held_out=beside)
    judge.save(folder)
    return judge
