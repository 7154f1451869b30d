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

from pathline._errors import nearest
from pathline.data import Data
from pathline.objectives import Matching
from pathline.train import checkpoint
from pathline.train.assemble import (
    as_dataset,
    cell_of,
    load_data,
    make_net,
    make_objective,
    prepare,
    sampling_arguments,
)
from pathline.train.checks import check_first_batch, check_folder, clear_run, own_randomness, refuse_changes
from pathline.train.config import Settings, TrainConfig, plain, settings_from, write_yaml
from pathline.train.ema import EMA
from pathline.train.feed import batches_of
from pathline.train.log import Log
from pathline.train.optim import Stepper, rate_at
from pathline.train.order import derive_seed
from pathline.train.progress import Progress
from pathline.train.run import CHECKPOINTS, CONFIG, LOG, Run, describe_data
from pathline.train.signals import Interrupted, StopRequest
from pathline.train.state import pack, restore


class DivergedError(RuntimeError):
    """The loss or the weights stopped being finite; the last good checkpoint is kept."""


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
    net = make_net(config.net, data, labels=config.labels, seed=config.seed)
    return Trainer(
        net=net, objective=objective, data=data, settings=config, resume=resume, overwrite=overwrite, progress=progress
    )


class Trainer:
    """Trains any network on any data: ``Trainer(net=…, objective=…, data=…, out=…).fit()``.

    Args:
        net: a module ``net(x_t, t, y=None)`` that returns a tensor like x_t; no base class is needed. It is trained
            in place.
        objective: a `Matching`, or any ``objective(net, x_1, y=y, generator=generator) -> loss``.
        data: a data set of `pathline.data`, a tensor (N, ...), a pair (samples, labels), or a map-style Dataset of
            torch, in your own units; the network sees standardised values, and `Run.sample` returns your units.
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
        objective: "Matching | Callable[..., Tensor]",
        data: "Data | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]",
        settings: "Settings | None" = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> None:
        self.settings = _settings(settings, options)
        self.resume, self.overwrite, self.progress = resume, overwrite, progress
        if not isinstance(net, nn.Module) or not any(p.requires_grad for p in net.parameters()):
            raise TypeError(f"net must be a torch.nn.Module with weights to train, got {type(net).__name__}")
        if not callable(objective):
            raise TypeError(f"objective must be callable, such as pl.Matching(...), got {objective!r}")
        self.objective, self.data = objective, as_dataset(data)
        self.out = Path(self.settings.out or f"runs/{self.data.name}")
        check_folder(self.out, resume=resume, overwrite=overwrite)
        self.parts = prepare(self.data, self.settings)
        accelerator = _accelerator(self.settings)
        device = accelerator.device
        self.batches = batches_of(
            self.parts.train, self.parts.standardizer, self.settings.batch_size, self.settings.seed, device
        )
        self.net = net.to(device)
        x, y = self.batches.first(4)
        check_first_batch(self.net, objective, x, y, self.data.num_classes)
        self.ema = EMA(self.net, self.settings.ema)
        self.stepper = Stepper(self.net, self.settings, device)
        self._wrapped = accelerator.prepare(self.net)
        self.generator = torch.Generator(device).manual_seed(derive_seed(self.settings.seed, "noise"))
        self.cell = cell_of(self.parts.standardizer, self.data.levels, device) if self.settings.dequantize else None
        """Width of a level in standardised units."""
        self.loss_sum = torch.zeros((), device=device)
        """Sum of the losses since the last line of the log."""
        self.step = 0
        """Steps done."""
        self._saved: Path | None = None

    def fit(self, until: "int | None" = None) -> Run:
        """Train up to ``settings.steps``, or to step ``until``, save, and return the run.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, when the step is finished and saved.
            DivergedError: the loss or the weights are not finite; nothing is saved over the last good checkpoint.
        """
        last = self.settings.steps if until is None else until
        if not 0 < last <= self.settings.steps:
            raise ValueError(f"until must lie in 1 … {self.settings.steps} (steps), got {until}")
        with ExitStack() as stack:
            stack.enter_context(own_randomness(derive_seed(self.settings.seed, "net")))
            if self.resume or self.step:
                self._reload()
            elif self.overwrite:
                clear_run(self.out)
            self.out.mkdir(parents=True, exist_ok=True)
            write_yaml(self.out / CONFIG, plain(self.settings))
            log = stack.enter_context(closing(Log(self.out / LOG)))
            log.write(event="resume" if self.step else "start", step=self.step, time=time.time(), until=last)
            bar = stack.enter_context(Progress(self.step, last, enabled=self.progress))
            stop = stack.enter_context(StopRequest())
            self._train(last, log, bar, stop)
        if stop.number:
            raise Interrupted(
                f"stopped at step {self.step} of {self.settings.steps}; saved {self._saved}; "
                f"go on with: pathline train --out {self.out} --resume",
                stop.number,
            )
        return self.run()

    def run(self) -> Run:
        """What has been trained so far, with the averaged weights."""
        return Run(
            path=self.out,
            step=self.step,
            settings=self.settings,
            net=self.ema.net,
            objective=self.objective if isinstance(self.objective, Matching) else None,
            standardizer=self.parts.standardizer,
            about=describe_data(self.data),
            source=self.data,
        )

    def _train(self, last: int, log: Log, bar: Progress, stop: StopRequest) -> None:
        settings, net, objective, generator = self.settings, self._wrapped, self.objective, self.generator
        precision = self.stepper.forward_precision
        net.train()
        while self.step < last and not stop.number:
            x_1, y = self.batches(self.step)
            if self.cell is not None:
                x_1 = x_1 + self.cell * (torch.empty_like(x_1).uniform_(generator=generator) - 0.5)
            with precision():
                loss = (
                    objective(net, x_1, generator=generator)
                    if y is None
                    else objective(net, x_1, y=y, generator=generator)
                )
            norm = self.stepper(loss, self.step)
            self.step += 1
            self.ema.update(self.step)
            self.loss_sum += loss.detach()
            bar.advance()
            if self.step % settings.log_every == 0:
                self._report(log, bar, norm)
            if self.step % settings.checkpoint_every == 0 and self.step < last:
                self._save(log)
        self._save(log)

    def _report(self, log: Log, bar: Progress, norm: "Tensor | None") -> None:
        """Read the loss, which waits for the device, and write it down."""
        mean = self.loss_sum.item() / self.settings.log_every
        if not math.isfinite(mean):
            self._give_up(log, f"the loss is {mean}")
        self.loss_sum.zero_()
        rate = rate_at(self.step - 1, self.settings)
        size = {} if norm is None or not bool(norm.isfinite()) else {"grad_norm": norm.item()}
        log.write(step=self.step, loss=mean, lr=rate, **size, steps_per_s=round(bar.speed(), 2), time=time.time())
        bar.show(mean)

    def _save(self, log: Log) -> None:
        """Write a checkpoint of the state after `self.step` steps, unless there is one or it is not worth keeping."""
        final = self.out / CHECKPOINTS / f"{checkpoint.PREFIX}{self.step:09d}"
        if self._saved == final:
            return
        if not math.isfinite(self.loss_sum.item()):
            self._give_up(log, f"the loss is {self.loss_sum.item()}")
        sizes = torch.stack(torch._foreach_norm([p.detach() for p in self.net.parameters()]))
        if not bool(sizes.isfinite().all()):
            self._give_up(log, "the weights are not finite")
        tensors, facts = pack(self)
        self._saved = checkpoint.save(self.out / CHECKPOINTS, self.step, tensors, facts, keep=self.settings.keep)

    def _give_up(self, log: Log, what: str) -> None:
        log.write(event="diverged", step=self.step, what=what, time=time.time())
        kept = checkpoint.list_checkpoints(self.out / CHECKPOINTS)
        since = max(0, self.step - self.settings.log_every) + 1
        raise DivergedError(
            f"{what} at step {self.step} (looked at since step {since}); "
            + (f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint was written yet")
            + f"; try a lower lr than {self.settings.lr:g} or a longer warmup than {self.settings.warmup}"
        )

    def _reload(self) -> None:
        found = checkpoint.load_latest(self.out / CHECKPOINTS)
        refuse_changes(found.facts["settings"], plain(self.settings))
        if found.facts["data"]["sha256"] != self.data.fingerprint:
            raise ValueError(f"the data are not those that {self.out} was trained on: resume with the same data")
        restore(self, found)
        self._saved = found.path


def _settings(settings: "Settings | None", options: dict[str, Any]) -> Settings:
    if settings is None:
        return settings_from(options)
    if not options:
        return settings
    known = plain(settings)
    for key in options:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}: {nearest(key, known)}")
    return type(settings)(**{**{k: getattr(settings, k) for k in known}, **options})


def _accelerator(settings: Settings) -> Any:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=settings.cpu)
    if accelerator.num_processes > 1:
        raise ValueError(f"training runs in one process, got {accelerator.num_processes}: start it without torchrun")
    return accelerator
