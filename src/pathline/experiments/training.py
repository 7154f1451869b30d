"""Trainings inside an experiment: in a folder that is thrown away, on data that were divided before."""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from pathline.data import Data, Dataset, StreamDataset, in_memory, split
from pathline.metrics import (
    Classifier,
    class_agreement,
    frechet_distance,
    precision_recall,
    sliced_wasserstein2,
    train_classifier,
    wasserstein2,
)
from pathline.objectives import BridgeMatching, Matching
from pathline.train import Interrupted, Run, Settings, TrainConfig, Trainer
from pathline.train.assemble import load_data, make_net, make_objective
from pathline.train.assess import classifier

W2_POINTS = 1000
"""Points of the exact W2, which costs their cube."""


def trained(
    net: nn.Module, objective: "Matching | BridgeMatching", data: Data, settings: Settings
) -> tuple[Run, float]:
    """The run of ``net`` after training it on all of ``data``, and its CPU seconds; nothing stays on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "out": str(Path(folder) / "run"),
            "held_out": 0.0,
            "checkpoint_every": settings.steps,
            "log_every": 50,
        }
        begin = time.process_time()
        trainer = Trainer(
            net=net, objective=objective, data=data, settings=settings, progress=False, **values,
        )  # fmt: skip
        try:
            run = trainer.fit()
        except Interrupted as stop:  # whose message is about a folder that goes away
            raise KeyboardInterrupt("stopped: an experiment starts anew") from stop
        return run, time.process_time() - begin


def trained_config(config: TrainConfig, data: Data, seed: int) -> tuple[Run, float]:
    """As `trained`, of what ``config`` names, on ``data``, with weights, order and noise from ``seed``."""
    objective = make_objective(config)
    net = make_net(config.net, data, labels=config.labels, seed=seed, heads=len(objective.prediction.heads))
    return trained(net, objective, data, config.replace(seed=seed))


class Yardstick:
    """Real data divided once, and how far samples are from the part that no training saw.

    Images with labels are seen through a small classifier, trained on the other part: FD, recall and class agreement.
    Vectors have exact W2. All of them have sliced W2. `floor` is the same for real data in place of samples.
    """

    def __init__(
        self, train: Dataset, rest: Dataset, judge: "Classifier | None" = None, *, most: int = 2000, quick: bool = False
    ) -> None:
        self.train = train
        self.n = min(len(rest) // 2, 64 if quick else most)
        order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))
        self.real, self.fresh = rest.subset(order[: self.n]), rest.subset(order[self.n : 2 * self.n])
        self.judge = judge
        self.features = None if judge is None else judge.features(self.real.x)

    @classmethod
    def of(cls, config: TrainConfig, *, held_out: float = 0.4, most: int = 2000, quick: bool = False) -> "Yardstick":
        """For the data that ``config`` names, of which the share ``held_out`` is kept from training."""
        data = load_data(config.data, labels=config.labels)
        if isinstance(data, StreamDataset):
            raise ValueError(f"{config.data} is a stream, which cannot be divided: name data that are held")
        train, rest = split(in_memory(data), held_out, seed=0)
        judge = None
        if train.image and train.y is not None and train.num_classes is not None:
            judge = train_classifier(
                train.x, train.y, train.num_classes, epochs=1 if quick else None, name=f"{train.name}-cnn"
            )
        return cls(train, rest, judge, most=most, quick=quick)

    @classmethod
    def of_run(cls, run: Run, *, quick: bool = False) -> "Yardstick":
        """For the data of ``run``, with the judge that it keeps.

        Raises:
            ValueError: the run held nothing out.
        """
        held_out = run.data.held_out
        if held_out is None:
            raise ValueError(f"{run.path} held out no data to be measured against: train with held_out > 0")
        judge = classifier(run) if run.about["image"] and held_out.y is not None else None
        return cls(run.data.train, held_out, judge, quick=quick)

    def __call__(self, x: Tensor, y: "Tensor | None" = None) -> dict[str, float]:
        """Distances of the samples ``x`` (n, ...), asked for as ``y``, to the real part."""
        generator = torch.Generator().manual_seed(0)
        x = x[: self.n]
        found: dict[str, float] = {}
        if self.judge is not None and self.features is not None:
            seen = self.judge.features(x)
            found["FD"] = frechet_distance(seen, self.features)
            found["recall"] = precision_recall(seen, self.features).recall
            if y is not None:
                found["agreement"] = class_agreement(x, y[: self.n], self.judge).agreement
        elif not self.real.image:
            found["W2"] = wasserstein2(x[:W2_POINTS], self.real.x[:W2_POINTS])
        found["sliced W2"] = sliced_wasserstein2(x.flatten(1), self.real.x[: len(x)].flatten(1), generator=generator)
        return found

    @property
    def main(self) -> str:
        """The distance to look at first: "FD", "W2" or, for images without labels, "sliced W2"."""
        return "FD" if self.judge is not None else "sliced W2" if self.real.image else "W2"

    def floor(self) -> dict[str, float]:
        """The distances of fresh real data, as many as samples."""
        return self(self.fresh.x, self.fresh.y)
