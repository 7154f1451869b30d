"""The training loop."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from pathline.data import Data
from pathline.objectives import BridgeMatching, Matching
from pathline.train.assemble import (
    as_dataset,
    cell_of,
    load_data,
    make_net,
    make_objective,
    prepare,
    sampling_arguments,
    standardizer_of,
)
from pathline.train.bins import TimeBins
from pathline.train.checks import clear_run, make_folder, own_randomness
from pathline.train.config import Settings, TrainConfig, plain, write_yaml
from pathline.train.generated import Generated, load_generated
from pathline.train.lock import Lock
from pathline.train.log import Log
from pathline.train.names import CONFIG, LOG
from pathline.train.optim import rate_at
from pathline.train.order import derive_seed
from pathline.train.pairing import Ahead, Plain
from pathline.train.processes import AskedToStop, Processes, job
from pathline.train.progress import Progress
from pathline.train.run import Run
from pathline.train.saving import claim, give_up, reload, save
from pathline.train.setup import Feed, begin_from, settings_of, uncoupled
from pathline.train.share import Share
from pathline.train.signals import Interrupted, StopRequest
from pathline.train.source import prepare_source
from pathline.train.told import describe_data
from pathline.train.trackers import Trackers
from pathline.train.watch import Watch
from pathline.train.weights import Weights


def fit(config: TrainConfig, *, resume: bool = False, overwrite: bool = False, progress: bool = True) -> Run:
    """Train what ``config`` names, and return the run, ready to sample.

    Every name is resolved, and data, network and folder are checked, before any work starts.
    """
    return trainer_of(config, resume=resume, overwrite=overwrite, progress=progress).fit()


def trainer_of(
    config: TrainConfig, *, resume: bool = False, overwrite: bool = False, progress: bool = True
) -> "Trainer":
    """The `Trainer` of a config."""
    if not isinstance(config, TrainConfig):
        raise TypeError(f"config must be a TrainConfig, got {type(config).__name__}: see pathline.train.RECIPES")
    objective = make_objective(config)
    sampling_arguments(config.sampling, objective.path.schedule)
    data = load_data(config.data, labels=config.labels)
    net = make_net(config.net, data, labels=config.labels, seed=config.seed, heads=len(objective.prediction.heads))
    if config.start is not None and not resume:
        begin_from(net, Run.open(config.start))
    return Trainer(
        net=net, objective=objective, data=data, settings=config, resume=resume, overwrite=overwrite, progress=progress,
        source=None if config.source is None else load_data(config.source, labels=False), paired=config.paired,
        pairs=None if config.pairs is None else load_generated(config.pairs),
    )  # fmt: skip


class Trainer:
    """Trains any network on any data: ``Trainer(net=…, objective=…, data=…, out=…).fit()``.

    Args:
        net: a module ``net(x_t, t, y=None)`` that returns a tensor like x_t; no base class is needed. It is trained
            in place.
        objective: a `Matching` or `BridgeMatching`, or any ``objective(net, x_1, y=y, generator=generator) -> loss``,
            which with a source also gets ``x_0``. The coupling of ours is made ahead, by a thread.
        data: a data set of `pathline.data`, a tensor (N, ...), a pair (samples, labels), or a map-style Dataset of
            torch, in your own units; the network sees standardised values, and `Run.sample` returns your units.
        source: where the flow starts, like ``data``; Gaussian noise if None. It is standardised on its own.
        paired: row i of the source belongs to row i of the data.
        pairs: pairs of another flow to train on, in the units of the network; the data only say what is being modelled.
        settings: a `Settings`; every field of it may also be given by name, as in ``steps=500``.
        resume: go on from the last checkpoint in ``out``, bit for bit.
        overwrite: delete the run that ``out`` holds when training starts.
        progress: show how it goes.

    Raises:
        FileExistsError: ``out`` holds something, and neither ``resume`` nor ``overwrite`` is set.
        ValueError, TypeError: anything wrong with data, settings, or what the network returns on a first batch.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        objective: "Matching | BridgeMatching | Callable[..., Tensor]",
        data: "Data | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]",
        source: "Data | Tensor | TorchDataset[Any] | None" = None,
        paired: bool = False,
        pairs: "Generated | None" = None,
        settings: "Settings | None" = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> None:
        self.settings = settings_of(settings, options)
        if not isinstance(net, nn.Module) or not any(p.requires_grad for p in net.parameters()):
            raise TypeError(f"net must be a torch.nn.Module with weights to train, got {type(net).__name__}")
        if not callable(objective):
            raise TypeError(f"objective must be callable, such as pl.Matching(...), got {objective!r}")
        self.objective, self.data = objective, as_dataset(data)
        self.out = Path(self.settings.out or f"runs/{self.data.name}")
        self.processes = Processes.joined(cpu=self.settings.cpu)
        told = self.processes.once(lambda: claim(self.out, resume=resume, overwrite=overwrite))
        self.resume, self.overwrite, self.progress = told["resume"], told["overwrite"], progress
        self.processes.same("the data", self.data.fingerprint)
        self.parts = prepare(self.data, self.settings)
        if paired and source is None:
            raise ValueError("paired needs a source: row i of it belongs to row i of the data")
        self.source = None if source is None else as_dataset(source)
        self.origin = None
        if self.source is not None:
            self.origin = prepare_source(self.source, self.data, self.settings, paired=paired, fit=standardizer_of)
        device = self.processes.device
        self.feed = Feed(self.parts, self.origin, objective, self.settings, self.processes, pairs)
        self.net = net
        self.weights = Weights(
            net, uncoupled(objective), self.feed.first(4), self.data.num_classes, self.settings, self.processes
        )
        self.stepper, self.ema, self.averages = self.weights.stepper, self.weights.ema, self.weights.averages
        self.bins = TimeBins(self.settings.time_bins, device)
        cell = cell_of(self.parts.standardizer, self.data.levels, device) if self.settings.dequantize else None
        self.share = Share(self.settings, self.processes, self.stepper, self.bins, objective, cell)
        self.generator = self.share.generator
        self.loss_sum = torch.zeros((), device=device)
        """Sum of the losses since the last line of the log."""
        self.skipped = 0
        """Steps that were skipped for their gradients, up to the last line of the log."""
        self.step = 0
        """Steps done."""
        self.saved: Path | None = None
        """The checkpoint of the newest step that has one."""
        self.watch = Watch(self)
        """What evaluates while training."""

    def fit(self, until: "int | None" = None) -> Run:
        """Train up to ``settings.steps``, or to step ``until``, save, and return the run: with ``stop_after`` the best one.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, when the step is finished and saved.
            DivergedError: the loss or the weights are not finite; nothing is saved over the last good checkpoint.
        """
        last = self.settings.steps if until is None else until
        if not 0 < last <= self.settings.steps:
            raise ValueError(f"until must lie in 1 … {self.settings.steps} (steps), got {until}")
        with ExitStack() as stack:
            first, show = self.processes.first, self.progress and self.processes.first
            own = () if first else (self.processes.rank,)
            stack.enter_context(own_randomness(derive_seed(self.settings.seed, "net", *own)))
            self.processes.once(lambda: self._take_folder(stack))
            if self.resume or self.step:
                self._reload()
            self.gather()
            track = self.settings.track if first else ()
            self.processes.once(lambda: write_yaml(self.out / CONFIG, plain(self.settings)))
            trackers = Trackers(track, self.out, plain(self.settings), self.step)
            self.watch.open(stack.enter_context(closing(trackers)))
            log = stack.enter_context(closing(Log(self.out / LOG if first else None, trackers.record)))
            begun = {"step": self.step, "time": time.time(), "until": last}
            log.write(event="resume" if self.step else "start", **begun, **({"job": job()} if job() else {}))
            feed = stack.enter_context(closing(self.feed.open(self.out, progress=show)))
            bar = stack.enter_context(Progress(self.step, last, enabled=show))
            stop = AskedToStop(stack.enter_context(StopRequest()), self.processes)
            self._train(last, log, bar, stop, feed)
        if stop.number:
            raise Interrupted(
                f"stopped at step {self.step} of {self.settings.steps}; saved {self.saved}; "
                f"go on with: pathline train --out {self.out} --resume",
                stop.number,
            )
        return self.watch.best_run() or self.run()

    def run(self) -> Run:
        """What has been trained so far, with the averaged weights."""
        return Run(
            path=self.out,
            step=self.step,
            settings=self.settings,
            net=self.averaged,
            objective=self.objective if isinstance(self.objective, Matching | BridgeMatching) else None,
            standardizer=self.parts.standardizer,
            about=self.describe(),
            source=self.data,
            begin=self.source,
            begin_standardizer=None if self.origin is None else self.origin.standardizer,
        )

    @property
    def averaged(self) -> nn.Module:
        """The net with the averaged weights, whole."""
        return self.weights.averaged

    def gather(self) -> None:
        """Bring `averaged` up to date where the net is sharded; all processes do it together."""
        self.weights.gather()

    def _take_folder(self, stack: ExitStack) -> None:
        """Make the run folder this process's own, and empty it if it is to be overwritten."""
        make_folder(self.out)
        stack.enter_context(Lock(self.out))
        if self.overwrite and not self.resume and not self.step:
            clear_run(self.out)

    def describe(self) -> dict[str, Any]:
        """What the run remembers of its data and source."""
        paired = self.origin is not None and self.origin.paired
        return describe_data(self.data, self.source, paired=paired)

    def _train(self, last: int, log: Log, bar: Progress, stop: AskedToStop, feed: "Plain | Ahead") -> None:
        settings, net, share = self.settings, self.weights.called, self.share
        objective = uncoupled(self.objective) if feed.coupled else self.objective
        net.train()
        while self.step < last and not stop.number and not self.watch.over:
            x_1, given = feed(self.step)
            left, loss = share.loss(objective, net, self.step, x_1, given)
            norm = self.stepper(left, self.step)
            self.step += 1
            self.ema.update(self.step)
            self.averages.update(self.step)
            self.averages.store(self.out, self.step, self.processes)
            self.loss_sum += self.stepper.kept(loss)
            bar.advance()
            if self.step % settings.log_every == 0:
                self._report(log, bar, norm, feed)
            if self.watch.due(self.step) and self._look(bar):
                self._save(log)
            if self.step % settings.checkpoint_every == 0 and self.step < last:
                self._save(log)
            stop.after_step()
        if self.watch.over:
            log.write(event="stopped", step=self.step, what=self.watch.told(), time=time.time())
        self._save(log)

    def _report(self, log: Log, bar: Progress, norm: "Tensor | None", feed: "Plain | Ahead") -> None:
        """Read the loss, which waits for the device, and write it down; with it what waiting for pairs has cost."""
        if self.stepper.stuck:
            give_up(self, log, self.stepper.stuck)
        skipped = self.stepper.skipped - self.skipped
        self.skipped += skipped
        total = self.processes.pool(self.loss_sum).item() / self.processes.count
        mean = total / max(1, self.settings.log_every - skipped)
        if not math.isfinite(mean):
            give_up(self, log, f"the loss is {mean}")
        self.loss_sum.zero_()
        self.processes.pool(self.bins.sums)
        rate = rate_at(self.step - 1, self.settings)
        size = {} if norm is None or not bool(norm.isfinite()) else {"grad_norm": norm.item()}
        speed = bar.speed()
        share = feed.waited() * speed / self.settings.log_every
        size |= {"pairing_share": round(share, 3)} if share > 0.005 else {}
        size |= {"skipped": skipped} if skipped else {}
        size |= {"loss_by_t": by_time} if any(by_time := self.bins.read()) else {}
        log.write(step=self.step, loss=mean, lr=rate, **size, steps_per_s=round(speed, 2), time=time.time())
        bar.show(mean)

    def _look(self, bar: Progress) -> bool:
        """Let the first process evaluate; whether that is the best so far, and what it means, all know then."""
        self.gather()

        def look() -> dict[str, Any]:
            better = self.watch.look(bar)
            return {"better": better, "over": self.watch.over, "history": self.watch.history}

        told = self.processes.once(look)
        self.watch.over, self.watch.history = told["over"], told["history"]
        return told["better"]

    def _save(self, log: Log) -> None:
        self.saved = save(self, log)

    def _reload(self) -> None:
        self.saved = reload(self)
