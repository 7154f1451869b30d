"""Evaluations while training: a picture and a few quick metrics of the averaged weights, and an early end by them.

Nothing here draws from a generator of the training, so a run ends with the same weights whether it is watched or not.
Evaluations stand in ``evals/evals.jsonl``, one a line; the decision to stop is read from these lines alone, so that a
resumed run stops where an uninterrupted one does.
"""

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from pathline._errors import nearest
from pathline.metrics import METRICS, Classifier, evaluate
from pathline.objectives import BridgeMatching, Matching
from pathline.train.assess import classifier
from pathline.train.checks import own_randomness
from pathline.train.log import Log
from pathline.train.names import EVALS
from pathline.train.progress import Progress
from pathline.train.run import Run
from pathline.train.score import held_out_loss
from pathline.train.trackers import Trackers, check_trackers

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

LOSS = "held_out_loss"
LINES = "evals.jsonl"
IMAGES, POINTS = 200, 1000
"""Samples of an evaluation."""
FEWEST = 20
"""Held-out samples below which nothing is measured."""
PLANE = 16
"""Up to this many dimensions exact transport tells more than its slices."""
SPLITS = 2


class Watch:
    """What looks at ``trainer`` every ``eval_every`` steps; ``over`` once ``stop_after`` looks brought nothing better.

    Raises:
        ValueError, ImportError: a tracker or metric that cannot be had, or nothing held out to stop by.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer, self.settings = trainer, trainer.settings
        check_trackers(self.settings.track)
        held_out = trainer.parts.held_out
        few = held_out is None or len(held_out) < FEWEST
        self.metrics = () if few else metrics_for(trainer.data.shape, labelled=trainer.data.num_classes)
        on = self.settings.stop_on
        if on != LOSS:
            if on not in METRICS:
                raise ValueError(f"unknown metric stop_on {on!r}: {nearest(on, [*METRICS, LOSS])}")
            if on not in self.metrics:
                self.metrics = (*self.metrics, on)
        if self.settings.eval_every and not isinstance(trainer.objective, Matching | BridgeMatching):
            raise ValueError(
                "eval_every draws samples, and an objective of your own does not tell how: use pl.Matching, or leave it out"
            )
        if self.settings.stop_after and few:
            raise ValueError(
                f"stop_after needs at least {FEWEST} held-out samples to measure against, and there are "
                f"{0 if held_out is None else len(held_out)}: train with more data or a larger held_out"
            )
        self.trackers: Trackers | None = None
        self.history: list[dict[str, Any]] = []
        """The evaluations up to the present step, in order."""
        self.over = False
        """Whether the last ``stop_after`` evaluations were no better than the best before them."""

    def open(self, trackers: Trackers) -> None:
        """Begin at the step of the trainer: what was evaluated up to there counts."""
        self.trackers = trackers
        path, step = self.trainer.out / EVALS / LINES, self.trainer.step
        self.history = [told for told in read_evals(path) if told["step"] <= step]
        self.over = self._is_over()
        if self.settings.stop_after and self.settings.stop_on == LOSS and held_out_loss(self.trainer) is None:
            raise ValueError(
                f"stop_on {LOSS} is not known for this objective and source: stop on one of {', '.join(METRICS)}"
            )

    def due(self, step: int) -> bool:
        """Whether the trainer is to be looked at after ``step`` steps."""
        return self.settings.eval_every > 0 and step % self.settings.eval_every == 0

    def look(self, bar: Progress) -> bool:
        """Evaluate, write it down; whether it is the best so far by what the run stops on. ``bar`` is not to count the time."""
        trainer = self.trainer
        begin = time.perf_counter()
        with own_randomness(0):
            told, figure = self._measure()
        from pathline.viz import save

        folder = trainer.out / EVALS
        folder.mkdir(exist_ok=True)
        picture = folder / f"step-{trainer.step:09d}.png"
        save(figure, picture)
        told = {"step": trainer.step, **told, "seconds": round(time.perf_counter() - begin, 3), "time": time.time()}
        log = Log(folder / LINES)  # a line that a crash cut short is mended here; closing makes it last
        log.write(**told)
        log.close()
        self.history = [*(line for line in self.history if line["step"] < trainer.step), told]
        self.over = self._is_over()
        bar.pause(time.perf_counter() - begin)
        if self.trackers is not None:
            self.trackers.record(told, "eval")
            self.trackers.picture("eval/samples", picture, trainer.step)
        return bool(self.settings.stop_after) and self.best == told

    @property
    def best(self) -> "dict[str, Any] | None":
        """The best evaluation so far, the first of equals."""
        known = [told for told in self.history if self._worth(told) < math.inf]
        return min(known, key=self._worth) if known else None

    def best_run(self) -> "Run | None":
        """The run with the weights of the best evaluation; None unless the run stops by one."""
        if not self.settings.stop_after or self.best is None:
            return None
        trainer = self.trainer
        return Run.open(
            trainer.out, net=copy.deepcopy(trainer.averaged), objective=trainer.run().objective, data=trainer.data,
            source=trainer.source, step="best", device=trainer.loss_sum.device,
        )  # fmt: skip

    def score(self) -> "float | None":
        """By what the checkpoint of this step is ranked, lower is better: held-out loss, or what the run stops on."""
        if not self.settings.stop_after:
            return held_out_loss(self.trainer)
        worth = [self._worth(told) for told in self.history if told["step"] == self.trainer.step]
        return worth[0] if worth and worth[0] < math.inf else None

    def told(self) -> str:
        """Why the run ends early, in a sentence."""
        best, on = self.best, self.settings.stop_on
        last = f"{self.settings.stop_after} evaluations did not improve {on}"
        return last if best is None else f"{last} of {best[on]:.4g} at step {best['step']}"

    def _is_over(self) -> bool:
        limit, best = self.settings.stop_after, self.best
        return bool(limit) and sum(best is None or told["step"] > best["step"] for told in self.history) >= limit

    def _worth(self, told: dict[str, Any]) -> float:
        value = told.get(self.settings.stop_on)
        if value is None or not math.isfinite(value):
            return math.inf
        metric = METRICS.get(self.settings.stop_on)
        return -value if metric is not None and metric.parts[0].better == "higher" else value

    def _measure(self) -> tuple[dict[str, Any], Any]:
        """(figures by name, picture of the samples)."""
        from pathline.train import pictures

        run = self._run()
        image = run.about["image"]
        x = run.sample(IMAGES if image else POINTS)
        y = run.labels(len(x))
        told: dict[str, Any] = {}
        loss = held_out_loss(self.trainer)
        if loss is not None:
            told[LOSS] = loss
        if self.metrics and run.data.held_out is not None:
            judge = self._judge if any(METRICS[name].space == "features" for name in self.metrics) else None
            found = evaluate(
                x, run.data.held_out.x, classifier=judge, metrics=self.metrics, splits=SPLITS,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            rows = iter(found.rows)
            for name in self.metrics:
                row, *_ = (next(rows) for _ in METRICS[name].parts)
                told[name], told[f"{name}_floor"] = row.value, row.floor
        shown = 10 * (len(run.class_names) or 10) if image else len(x)
        return told, pictures.samples(run, x[:shown], None if y is None else y[:shown])

    def _run(self) -> "Run":
        """The run so far; what it would read and divide anew is what the trainer has."""
        run = self.trainer.run()
        vars(run).update(data=self._data, origin=self.trainer.origin)
        return run

    @cached_property
    def _data(self) -> Any:
        return self.trainer.parts.in_memory()

    @cached_property
    def _judge(self) -> "Classifier | None":
        """What reads features: trained once, kept in the run folder for the evaluation at the end."""
        return None if self._data.train.y is None else classifier(self._run())


def metrics_for(shape: Sequence[int], *, labelled: "int | None") -> tuple[str, ...]:
    """Metrics that are quick on samples of ``shape``: exact transport of points, else slices, and FD with labels."""
    if math.prod(shape) <= PLANE:
        return ("w2",)
    return ("fd", "sliced_w2") if labelled and labelled > 1 else ("sliced_w2",)


def read_evals(path: "str | os.PathLike[str]") -> list[dict[str, Any]]:
    """The evaluations of a run by step. A resumed run repeats some: the last word on a step counts."""
    found: dict[int, dict[str, Any]] = {}
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue  # cut short by a crash
                if isinstance(told, dict) and isinstance(told.get("step"), int):
                    found[told["step"]] = told
    return [found[step] for step in sorted(found)]
